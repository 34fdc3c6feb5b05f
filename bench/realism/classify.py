"""Two classifiers, real against rendered, cross-validated over pictures."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from bench.realism.features import GROUPS, NAMES
from bench.realism.patches import Patches

Scores = NDArray[np.float64]


@dataclass(frozen=True)
class Auroc:
    """Area under the ROC curve: mean over folds and its 95 % interval (t, folds taken as independent)."""

    mean: float
    lower: float
    upper: float

    def __str__(self) -> str:
        if math.isnan(self.lower):
            return f"{self.mean:.2f}"
        return f"{self.mean:.2f} [{self.lower:.2f}, {self.upper:.2f}]"


def folds_of(groups: NDArray[np.str_], is_real: NDArray[np.bool_], *, rng: np.random.Generator) -> NDArray[np.intp]:
    """(n,) fold of every patch: one per real group, at most 6; rendered pictures are spread evenly over them.

    A group is never in two folds.
    """
    real = rng.permutation(np.unique(groups[is_real]))
    n = min(len(real), 6)
    fold = {g: k % n for k, g in enumerate(real)}
    fold |= {g: k % n for k, g in enumerate(rng.permutation(np.unique(groups[~is_real])))}
    return np.array([fold[g] for g in groups], dtype=np.intp)


def area(is_real: NDArray[np.bool_], scores: Scores) -> float:
    """AUROC: probability that a real patch scores above a rendered one, ties half."""
    from scipy.stats import rankdata

    n = int(is_real.sum())
    if n in (0, len(is_real)):
        return math.nan
    return float((rankdata(scores)[is_real].sum() - n * (n + 1) / 2) / (n * (len(is_real) - n)))


def auroc(is_real: NDArray[np.bool_], scores: Scores, folds: NDArray[np.intp]) -> Auroc:
    """AUROC within each fold, and over folds its mean and interval."""
    from scipy.stats import t

    each = np.array([area(is_real[folds == k], scores[folds == k]) for k in np.unique(folds)])
    each = each[np.isfinite(each)]
    if len(each) < 2:
        return Auroc(float(each.mean()) if len(each) else math.nan, math.nan, math.nan)
    half = float(t.ppf(0.975, len(each) - 1) * each.std(ddof=1) / math.sqrt(len(each)))
    return Auroc(float(each.mean()), max(0.0, float(each.mean()) - half), min(1.0, float(each.mean()) + half))


def forest_scores(x: NDArray[np.float64], is_real: NDArray[np.bool_], folds: NDArray[np.intp], *, seed: int) -> Scores:
    """Probability of real by 150 extremely randomized trees on the features, each patch by trees that never saw its
    fold."""
    from sklearn.ensemble import ExtraTreesClassifier

    out = np.zeros(len(x))
    for k in np.unique(folds):
        test = folds == k
        trees = ExtraTreesClassifier(
            150, min_samples_leaf=4, max_features=0.4, class_weight="balanced", random_state=seed, n_jobs=1
        )
        out[test] = trees.fit(x[~test], is_real[~test]).predict_proba(x[test])[:, 1]
    return out


def alone(
    x: NDArray[np.float64], is_real: NDArray[np.bool_], folds: NDArray[np.intp], *, seed: int
) -> dict[str, Auroc]:
    """AUROC of the trees when they see one group of features only: what it gives away."""
    found = {}
    for group, names in GROUPS.items():
        columns = [NAMES.index(name) for name in names]
        found[group] = auroc(is_real, forest_scores(x[:, columns], is_real, folds, seed=seed), folds)
    return found


def network():  # type: ignore[no-untyped-def]
    """About 23,000 weights: four convolutions; mean, spread and maximum over the patch; one linear layer."""
    from torch import nn

    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            layers: list[nn.Module] = []
            channels = (2, 8, 24, 32, 48)
            for a, b, size in zip(channels[:-1], channels[1:], (5, 3, 3, 3), strict=True):
                layers += [nn.Conv2d(a, b, size, stride=2, padding=size // 2, bias=False), nn.BatchNorm2d(b), nn.ReLU()]
            self.body = nn.Sequential(*layers)
            self.head = nn.Sequential(nn.Dropout(0.2), nn.Linear(3 * channels[-1], 1))

        def forward(self, x):  # type: ignore[no-untyped-def]
            import torch

            found = self.body(x)
            return self.head(torch.cat([found.mean((2, 3)), found.std((2, 3)), found.amax((2, 3))], dim=1))[:, 0]

    return Net()


def network_scores(
    patches: Patches, is_real: NDArray[np.bool_], folds: NDArray[np.intp], *, seed: int, epochs: int = 12
) -> Scores:
    """Log odds of real by a small convolutional network, each patch by one that never saw its fold.

    It sees the patch and, as a second channel, what is finer than 2 px in it.

    AdamW (weight decay 0.02), one cycle of the learning rate, labels smoothed by 0.02, dropout 0.2, patches turned and
    mirrored at random; scores are the mean over the 8 ways to turn and mirror a patch. One thread.
    """
    import torch

    torch.set_num_threads(1)
    x = torch.from_numpy(np.stack([patches.grey / 64 - 2, _fine(patches.grey) / 4], axis=1))
    y = torch.from_numpy(is_real.astype(np.float32))
    out = np.zeros(len(patches))
    for k in np.unique(folds):
        torch.manual_seed(seed + int(k))
        train, test = np.flatnonzero(folds != k), np.flatnonzero(folds == k)
        net = network().to(memory_format=torch.channels_last)
        # As many real as rendered patches weigh in, also where a fold is not balanced.
        weight = torch.tensor(float((~is_real[train]).sum() / max(is_real[train].sum(), 1)))
        loss = torch.nn.BCEWithLogitsLoss(pos_weight=weight)
        steps = epochs * math.ceil(len(train) / 32)
        optimizer = torch.optim.AdamW(net.parameters(), lr=1e-2, weight_decay=0.02)
        schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 1e-2, total_steps=steps)
        rng = np.random.default_rng([seed, int(k)])
        for _ in range(epochs):
            order = rng.permutation(train)
            for batch in np.array_split(order, math.ceil(len(train) / 32)):
                at = torch.from_numpy(batch)
                optimizer.zero_grad()
                loss(net(_turned(x[at], int(rng.integers(8)))), y[at] * 0.98 + 0.01).backward()
                optimizer.step()
                schedule.step()
        net.eval()
        with torch.inference_mode():
            out[test] = torch.stack([net(_turned(x[test], way)) for way in range(8)]).mean(0).numpy()
    return out


def _fine(grey: NDArray[np.float32]) -> NDArray[np.float32]:
    """(n, SIDE, SIDE) what is finer than about 2 px: noise and edges, for the network to see them from the start."""
    import cv2

    return np.array([g - cv2.GaussianBlur(g, (0, 0), 2) for g in grey], dtype=np.float32)


def _turned(x, way: int):  # type: ignore[no-untyped-def]
    """One of the 8 ways to turn and mirror a patch."""
    import torch

    x = torch.rot90(x, way % 4, (2, 3))
    x = x.flip(3) if way >= 4 else x
    return x.contiguous(memory_format=torch.channels_last)

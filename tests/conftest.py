"""Fixtures of all tests."""

from __future__ import annotations

import os
from pathlib import Path

import cv2
import numpy as np
import pytest

from crystalscope.config import AnalyzeConfig, load_config

DATA = Path(os.environ.get("CRYSTALSCOPE_DATA", Path(__file__).parents[2] / "shared" / "data"))


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(20240501)


@pytest.fixture
def data() -> Path:
    """Folder of the real pictures; the test is skipped where it is missing."""
    if not DATA.is_dir():
        pytest.skip("needs the real pictures: set CRYSTALSCOPE_DATA")
    return DATA


@pytest.fixture
def config() -> AnalyzeConfig:
    return load_config(segmenter="threshold", size={"replicates": 100}, report={"overlays": 1, "montage": 4})


def picture(discs: list[tuple[float, float, float]] = (), *, shape=(120, 160), noise=0.5, seed=0) -> np.ndarray:
    """Dark discs (row, column, radius) on light, anti-aliased, 8 bit."""
    fine = np.full((shape[0] * 4, shape[1] * 4), 180, np.uint8)
    for r, c, radius in discs:
        y, x = np.ogrid[: fine.shape[0], : fine.shape[1]]
        fine[((y + 0.5) / 4 - r) ** 2 + ((x + 0.5) / 4 - c) ** 2 <= radius**2] = 40
    small = cv2.resize(fine, shape[::-1], interpolation=cv2.INTER_AREA).astype(float)
    small = cv2.GaussianBlur(small, (0, 0), 0.8) + np.random.default_rng(seed).normal(0, noise, shape)
    return np.clip(np.round(small), 0, 255).astype(np.uint8)


def save(path: Path, data: np.ndarray) -> Path:
    """Write a picture in the format of its suffix."""
    path.parent.mkdir(parents=True, exist_ok=True)
    ok, raw = cv2.imencode(path.suffix, data)
    assert ok
    path.write_bytes(raw.tobytes())
    return path


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Six frames with three discs each."""
    for i in range(6):
        discs = [(30 + i, 40, 12), (70, 100 + i, 9), (85, 30, 7 + i / 2)]
        save(tmp_path / "pictures" / f"frame_{i}_t{10 * i}s.png", picture(discs, seed=i))
    return tmp_path / "pictures"


@pytest.fixture(scope="session")
def label_weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A labelling network that has learnt nothing, with a card: what does not hang on what it says."""
    torch = pytest.importorskip("torch")
    from crystalscope.core import LABELS
    from crystalscope.learn.label_net import LabelNet, export_labels

    torch.manual_seed(1)
    path = tmp_path_factory.mktemp("weights") / "own.onnx"
    card = {
        "calibration": {n: {"slope": 1.0, "shift": 0.0} for n in LABELS},
        "thresholds": dict.fromkeys(LABELS, 0.5),
    }
    export_labels(LabelNet(), path, card=card)
    return path

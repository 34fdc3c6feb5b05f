"""Intervals cover the truth as often as they say."""

from __future__ import annotations

import numpy as np
import pytest

from crystalscope.size import bootstrap_figures

pytestmark = pytest.mark.long


# 40 frames correlated at 0.7 hold what seven independent ones do: the blocks cannot make up for all of it, and the
# documentation says so.
@pytest.mark.parametrize(("correlation", "least"), [(0.0, 0.90), (0.7, 0.80)])
def test_coverage_of_intervals(correlation, least):
    """95 % intervals of D50 by number and by volume, 40 frames of 15 particles whose median wanders."""
    rng = np.random.default_rng(5)
    inside = {"D50_0": 0, "D50_3": 0, "D[1,0]": 0}
    truth = {"D50_0": 50.0, "D50_3": 50 * np.exp(3 * (0.3**2 + 0.1**2)), "D[1,0]": 50 * np.exp(0.5 * (0.3**2 + 0.1**2))}
    runs, n_frames = 300, 40
    for run in range(runs):
        state = rng.normal()
        sizes, frames = [], []
        for f in range(n_frames):
            state = correlation * state + np.sqrt(1 - correlation**2) * rng.normal()
            x = 50 * np.exp(0.1 * state + 0.3 * rng.normal(size=rng.poisson(15)))
            sizes.append(x)
            frames.append(np.full(len(x), f))
        x, f = np.concatenate(sizes), np.concatenate(frames)
        got = bootstrap_figures(x, x**3, np.ones_like(x), f, n_frames=n_frames, level=0.95, replicates=300, rng=run)
        for name in inside:
            inside[name] += got[name].lower <= truth[name] <= got[name].upper
    for name, count in inside.items():
        assert least <= count / runs <= 0.99, f"{name}: {count / runs:.1%}"

"""What stays on the window."""

import numpy as np

from crystalscope.prepare.sequence import lasting_coverage


def test_deposit_counts_and_what_passes_does_not(rng):
    covers = rng.random((40, 20, 20)) < 0.15
    covers[20:, :4, :5] = True
    share = lasting_coverage(covers, looked=np.ones(40, dtype=bool))
    assert share[:14].max() == 0
    assert abs(share[-5:] - 0.05).max() < 0.003
    assert (np.diff(share) > -0.003).all()


def test_frames_that_were_not_looked_at_are_left_out():
    covers = np.ones((14, 4, 4), dtype=bool)
    covers[3] = False
    looked = np.ones(14, dtype=bool)
    looked[3] = False
    share = lasting_coverage(covers, looked=looked)
    assert np.isnan(share[3])
    assert (share[looked] == 1).all()
    assert np.isnan(lasting_coverage(covers[:10], looked=looked[:10])).all()

"""Intervals of shares of classes hold the truth as often as they say."""

from __future__ import annotations

import pytest
from bench.form.coverage import CASES, coverage


@pytest.mark.long
@pytest.mark.parametrize(("name", "rates", "shares"), CASES, ids=[c[0] for c in CASES])
def test_coverage_of_shares(name, rates, shares):
    held, _, median, width = coverage(rates, shares, 1000, seed=11)
    assert 0.93 <= held <= 0.97
    assert abs(median - shares[-1]) < 0.15 * width

"""A clean set, and copies of it to plant defects in."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from tests.unit.datasets.drawn import write_clean


@pytest.fixture(scope="session")
def clean_set(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Nine drawn pictures without a fault; not to be changed."""
    return write_clean(tmp_path_factory.mktemp("clean") / "set")


@pytest.fixture
def drawn_set(clean_set: Path, tmp_path: Path) -> Path:
    """A copy to plant a defect in."""
    return Path(shutil.copytree(clean_set, tmp_path / "set"))

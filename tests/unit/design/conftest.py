"""Fixtures of the tests of the design."""

from __future__ import annotations

import pytest
from tests.unit.design.doe import SYSTEM, made

from crystalscope.design.system import System, parse_system
from crystalscope.design.table import DoETable


@pytest.fixture
def system() -> System:
    return parse_system(SYSTEM, "test")


@pytest.fixture
def table(system: System) -> DoETable:
    return made(system)

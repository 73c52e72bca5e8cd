"""A short restore drill; `make drill` is the large one."""

from __future__ import annotations

import pytest

from tests.drill.application import missing
from tests.drill.drill import drill


@pytest.mark.xdist_group("drill")
def test_a_real_application_survives_restores_that_are_killed() -> None:
    if lacking := missing():
        pytest.skip(f"needs {lacking}")
    figures = drill(3, seed=7)
    assert len(figures.up_after_s) == 3
    assert figures.checked_writes > 0

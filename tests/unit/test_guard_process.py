"""The engine's end of the pipe to its guard, when the guard is gone."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

from quiesce.errors import ExitStatus, GuardError
from quiesce.guard import GuardProcess


@pytest.fixture
def dead(tmp_path: Path) -> GuardProcess:
    guard = GuardProcess([sys.executable, "-c", "pass"], tmp_path / "guard.log", dict(os.environ))
    guard._process.wait()
    return guard


def test_nothing_is_frozen_without_a_guard_and_that_is_not_the_disks_fault(dead: GuardProcess) -> None:
    with pytest.raises(GuardError, match="has died") as caught:
        dead.window_opened()
    assert caught.value.exit_status is ExitStatus.FAILED
    dead.dismiss()


@pytest.mark.parametrize("settled", [True, False])
def test_one_that_dies_after_the_thaw_does_not_fail_what_was_done(dead: GuardProcess, settled: bool) -> None:
    dead.release(settled=settled)
    dead.dismiss()


def test_one_that_dies_before_it_watches_is_missed_when_it_is_to_watch(dead: GuardProcess) -> None:
    dead.prepare("this-execution")
    with pytest.raises(GuardError, match="has died"):
        dead.watch(30.0)
    dead.dismiss()

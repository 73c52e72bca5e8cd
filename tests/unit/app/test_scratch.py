"""Directories of trials: many at once are in nobody's way."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from quiesce.app.points.scratch import scratch_directory


def test_trials_side_by_side_leave_each_other_alone(tmp_path: Path) -> None:
    above = tmp_path / "proofs"

    def try_often(who: int) -> None:
        for number in range(100):
            with scratch_directory(above, f"{who}-{number}") as place:
                (place / "restored").mkdir()

    with ThreadPoolExecutor(4) as threads:
        list(threads.map(try_often, range(4)))
    assert list(above.iterdir()) == []

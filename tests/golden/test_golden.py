"""Old journals are for ever: every journal ever released still folds to the same history.

``python -m tests.golden.test_golden VERSION`` writes this version's; released files are never changed.
"""

from __future__ import annotations

import contextlib
import json
import sys
from pathlib import Path

import pytest

from quiesce.model.history import History
from quiesce.model.plan import Plan
from quiesce.stores.codec import decode, decode_records, encode, encode_records
from quiesce.testing import Fuse, PowerCut
from tests.crash.scenes import WORLDS, Scene

GOLDEN = Path(__file__).parent
SCENES = [
    ("backup", "healthy", None),
    ("backup", "snapshot fails", None),
    ("backup", "freeze unconfirmed", 14),
    ("backup", "snapshot hangs", None),
    ("restore", "thaw fails twice", 21),
    ("remove_backup", "healthy", 5),
    ("suspend", "healthy", None),
]


def summary(plan: Plan, history: History) -> dict[str, object]:
    """Return what everything else is derived from."""
    return {
        "count": history.count,
        "turn": history.started.turn if history.started else 0,
        "done": sorted(history.done),
        "failed": {step: failed.code for step, failed in sorted(history.failed.items())},
        "aborted": history.aborted.code if history.aborted else None,
        "ending": history.ended.ending.value if history.ended else None,
        "debts": [step.id for step in history.debts(plan)],
        "leftovers": [step.id for step in history.leftovers(plan)],
        "attempts": dict(sorted(history.attempts.items())),
    }


@pytest.mark.parametrize("path", sorted(GOLDEN.glob("*.json")), ids=lambda path: path.stem)
def test_an_old_journal_still_folds_to_the_same_history(path: Path) -> None:
    """Records are versioned by their fields: new ones have defaults, old ones keep their meaning."""
    kept = json.loads(path.read_text())
    plan = decode(Plan, json.dumps(kept["plan"]))
    records = decode_records(json.dumps(kept["records"]))
    assert summary(plan, History.of(records)) == kept["history"]


def test_there_is_a_journal_of_every_kind_of_end() -> None:
    """Completed, failed and interrupted executions are all kept."""
    endings = {json.loads(path.read_text())["history"]["ending"] for path in GOLDEN.glob("*.json")}
    assert endings == {"completed", "failed", None}


def write(version: str) -> None:
    """Write one file for each scene."""
    for workflow, world, ticks in SCENES:
        assert world in WORLDS
        scene = Scene(workflow, "a service on a machine", world)
        with contextlib.suppress(PowerCut):
            scene.live(Fuse(ticks))
        kept = {
            "plan": json.loads(encode(scene.plan)),
            "records": json.loads(encode_records(scene.kept.records)),
            "history": summary(scene.plan, scene.history()),
        }
        name = f"{version}-{workflow}-{world}{'-interrupted' if ticks else ''}".replace(" ", "-")
        (GOLDEN / f"{name}.json").write_text(json.dumps(kept, indent=1) + "\n")


if __name__ == "__main__":
    write(sys.argv[1])

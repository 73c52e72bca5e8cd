"""Plans as they are stored: read back equal, with the digest by which their journal knows them."""

from __future__ import annotations

import zlib
from dataclasses import replace

import pytest

from quiesce.model.ids import Json, StepId
from quiesce.model.plan import Plan
from quiesce.planning import read_parameters
from quiesce.stores.plans import pack_plan, unpack_plan
from tests.crash.scenes import TOPOLOGIES, Scene


@pytest.mark.parametrize("shape", sorted(TOPOLOGIES))
@pytest.mark.parametrize("workflow", ["backup", "restore", "remove_backup", "suspend", "resume"])
def test_a_plan_comes_back_as_it_was(workflow: str, shape: str) -> None:
    plan = Scene(workflow, shape, "healthy").plan
    assert plan.steps
    _comes_back(plan)


def _comes_back(plan: Plan) -> None:
    back = unpack_plan(pack_plan(plan))
    assert back == plan
    assert back.digest == plan.digest


def test_a_plan_without_steps_comes_back() -> None:
    plan = Scene("backup", "a service on a machine", "healthy").plan
    _comes_back(replace(plan, steps=()))


def test_more_steps_than_one_line_holds_come_back() -> None:
    plan = Scene("backup", "a service on a machine", "healthy").plan
    steps = tuple(replace(step, id=StepId(f"{n}.{step.id}")) for n in range(700) for step in plan.steps)
    assert len(steps) > 2000
    _comes_back(replace(plan, steps=steps))


@pytest.mark.parametrize(
    "given",
    [
        {},
        {"max_freeze": 600, "parallel": "64", "operation_timeout": 12, "task_retry_interval": 0},
        {"max_freeze": "1.5m", "min_consistency": "application", "include_instances": "vm, db"},
        {"snapshot_name": "one", "snapshot_incremental": False, "exclude_nodes": ["db"], "fake_seconds": 1},
    ],
)
def test_parameters_come_back_as_they_were_read(given: dict[str, Json]) -> None:
    plan = Scene("backup", "a service on a machine", "healthy").plan
    read = read_parameters("backup", given, now=0.0, allow_custom=True)
    _comes_back(replace(plan, parameters=read))


def test_no_part_of_a_plan_is_taken_for_the_whole() -> None:
    data = pack_plan(Scene("backup", "a service on a machine", "healthy").plan)
    for length in range(len(data)):
        with pytest.raises((ValueError, StopIteration, zlib.error)):
            unpack_plan(data[:length])
    with pytest.raises(ValueError, match="something follows it"):
        unpack_plan(data + b"more")

"""A restore that dies at any moment leaves no machine switched off that ran: its START knows what it owes."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from tests.unit.lives import Fused, Life

from quiesce.model.ids import Json
from quiesce.model.operation import Operation
from quiesce.providers.vsphere.inventory import PowerState
from quiesce.testing import Fuse, PowerCut
from quiesce.testing.fake_vcenter import FakeVCenter

#: more often than this no restore touches its vCenter
MOST_TOUCHES = 200


def _do(
    site: Any, kept: dict[str, Json], operation: Operation, fuse: Fuse | None = None, **changes: Any
) -> None:
    fuse = fuse or Fuse(None)
    center: Any = Fused(FakeVCenter(site.world), fuse, spared=("close",))
    call = site.call(operation, runtime_properties=dict(kept), **changes)
    site.provider(center).perform(call, Life(kept, fuse))


def _power(site: Any) -> PowerState:
    power: PowerState = site.world.machines[site.machine].power
    return power


def _switch_off(site: Any) -> None:
    machines = site.world.machines
    machines[site.machine] = replace(machines[site.machine], power=PowerState.OFF)


def _save(site: Any, option: Any, kind: str) -> dict[str, Any]:
    """Save the machine, and return what its restore is called with."""
    properties = option() if kind == "snapshot" else option(backup_to=kind)
    site.write("before")
    made = (
        site.perform(Operation.SNAPSHOT, properties=properties)
        if kind == "snapshot"
        else site.backup(properties=properties)
    )
    return {"full": kind != "snapshot", "artifact": made.artifact, "properties": properties}


@pytest.mark.parametrize("kind", ["snapshot", "repository", "clone"])
def test_wherever_a_restore_dies_the_machine_runs_after_its_start(site: Any, option: Any, kind: str) -> None:
    saved = _save(site, option, kind)
    was_off, kept = 0, {}
    for touches in range(MOST_TOUCHES):
        site.write("after")
        try:
            _do(site, kept, Operation.APPLY, Fuse(touches), **saved)
        except PowerCut:
            pass
        else:
            break
        was_off += _power(site) is not PowerState.ON
        for _ in range(2):
            _do(site, kept, Operation.START, **saved)
            assert _power(site) is PowerState.ON, f"after touch {touches}"
        assert kept == {}
        _do(site, kept, Operation.APPLY, **saved)
        assert (site.read(), _power(site)) == ("before", PowerState.ON)
    else:
        pytest.fail("the restore does not come to its end")
    assert was_off > 0
    assert kept == {}
    assert (site.read(), _power(site)) == ("before", PowerState.ON)


def test_a_machine_that_was_off_is_not_started(site: Any, option: Any) -> None:
    _switch_off(site)
    site.write("before")
    saved = {"full": True, "artifact": site.backup(properties=option()).artifact, "properties": option()}
    kept: dict[str, Json] = {}
    for touches in range(MOST_TOUCHES):
        try:
            _do(site, kept, Operation.APPLY, Fuse(touches), **saved)
        except PowerCut:
            _do(site, kept, Operation.START, **saved)
            assert _power(site) is PowerState.OFF
        else:
            break
    assert _power(site) is PowerState.OFF


@pytest.mark.parametrize("kind", ["snapshot", "repository", "clone"])
def test_what_was_switched_off_since_the_cut_stays_off_when_the_restore_dies(
    site: Any, option: Any, kind: str
) -> None:
    """It is for the restore to start it, not for whoever cleans up behind it."""
    saved = _save(site, option, kind)
    kept: dict[str, Json] = {}
    for touches in range(MOST_TOUCHES):
        _switch_off(site)
        try:
            _do(site, kept, Operation.APPLY, Fuse(touches), **saved)
        except PowerCut:
            found = _power(site)
            _do(site, kept, Operation.START, **saved)
            assert _power(site) is found, f"after touch {touches}"
        else:
            break
    assert _power(site) is PowerState.ON


def test_a_machine_that_somebody_has_removed_is_not_waited_for(site: Any) -> None:
    kept: dict[str, Json] = {"quiesce_switched_off": "begun"}
    site.world.machines.clear()
    _do(site, kept, Operation.START)
    assert kept == {}

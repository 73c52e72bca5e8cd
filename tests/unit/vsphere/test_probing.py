"""A restored machine is on as it was at the cut, and VMware Tools run where they are installed."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from quiesce.errors import ProbeFailedError
from quiesce.model.operation import Operation
from quiesce.provider_kit import machine_probing
from quiesce.providers.vsphere.inventory import PowerState

from .conftest import CONNECTION

FULL = pytest.mark.parametrize("full", [False, True], ids=["snapshot", "backup"])


@pytest.fixture(autouse=True)
def _soon(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("_PAUSE_S", "_RUNNING_S", "_ANSWER_S"):
        monkeypatch.setattr(machine_probing, name, 0.01)


def change(site: Any, **changes: Any) -> None:
    site.world.machines[site.machine] = replace(site.world.machines[site.machine], **changes)


def restored(site: Any, full: bool) -> Any:
    made = site.backup() if full else site.perform(Operation.SNAPSHOT)
    site.perform(Operation.APPLY, full=full, artifact=made.artifact)
    return made.artifact


@FULL
def test_it_is_on_and_its_tools_answer(site: Any, full: bool) -> None:
    artifact = restored(site, full)
    told = site.perform(Operation.PROBE, full=full, artifact=artifact).note
    assert told == "vSphere says that web is on, and VMware Tools in it answers"


@FULL
def test_one_that_was_on_and_is_off_fails(site: Any, full: bool) -> None:
    artifact = restored(site, full)
    change(site, power=PowerState.OFF)
    with pytest.raises(ProbeFailedError, match="web ran at the cut; vSphere says that it is off"):
        site.perform(Operation.PROBE, full=full, artifact=artifact)


@FULL
def test_one_that_was_off_may_be_off(site: Any, full: bool) -> None:
    change(site, power=PowerState.OFF)
    artifact = restored(site, full)
    assert "so nothing in it was asked" in site.perform(Operation.PROBE, full=full, artifact=artifact).note


def test_without_tools_nothing_in_it_is_asked(site: Any) -> None:
    change(site, tools_installed=False, tools_running=False)
    told = site.perform(Operation.PROBE, artifact=restored(site, False)).note
    assert told == "vSphere says that web is on; nothing in it was asked"


def test_tools_that_do_not_run_are_told_and_fail_where_they_have_to_answer(site: Any) -> None:
    change(site, tools_running=False)
    artifact = restored(site, False)
    told = site.perform(Operation.PROBE, artifact=artifact).note
    assert told.endswith("VMware Tools in it has not answered yet: they do not run")
    site.context.timeout_s = 0.5
    properties = {"connection_config": CONNECTION, "resource_id": "web", "probe_agent": True}
    with pytest.raises(ProbeFailedError, match="VMware Tools"):
        site.perform(Operation.PROBE, artifact=artifact, properties=properties)


def test_it_is_the_other_machine_that_is_asked(site: Any) -> None:
    properties = {"connection_config": CONNECTION, "resource_id": "web", "restore_to": "other"}
    artifact = site.backup().artifact
    site.perform(Operation.APPLY, full=True, artifact=artifact, properties=properties)
    told = site.perform(Operation.PROBE, full=True, artifact=artifact, properties=properties).note
    assert told == "vSphere says that other is off, so nothing in it was asked"

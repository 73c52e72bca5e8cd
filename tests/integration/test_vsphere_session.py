"""The way to vCenter, on the simulator: sessions, TLS, pages, names, tracked changes."""

from __future__ import annotations

import contextlib
import runpy
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from quiesce.errors import NonRecoverableError, ResourceNotFoundError
from quiesce.provider_kit.deadline import Deadline
from quiesce.providers.vsphere.endpoint import VCenterEndpoint
from quiesce.providers.vsphere.inventory import MachineLookup
from quiesce.providers.vsphere.vcenter import DiskArea, SnapshotRequest
from quiesce.testing import RecordingContext

pytestmark = pytest.mark.platform("vcenter")


lab = SimpleNamespace(**runpy.run_path(str(Path(__file__).parents[1] / "labs" / "vcenter" / "lab.py")))


@pytest.fixture(scope="module")
def simulator(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    lab.require()
    with lab.Lab(tmp_path_factory.mktemp("vcenter"), machines=7, task_delay="20ms") as running:
        yield running


@pytest.fixture
def center(simulator: Any) -> Iterator[Any]:
    from quiesce.providers.vsphere.client import VSphereClient

    center = VSphereClient(VCenterEndpoint.of(simulator.connection))
    yield center
    center.close()
    for machine in simulator.machines().values():
        simulator.run(machine.RemoveAllSnapshots_Task())


def _soon() -> Deadline:
    return Deadline(RecordingContext(), "vCenter")


def _end_other_sessions(simulator: Any) -> None:
    manager = simulator.content.sessionManager
    mine = manager.currentSession.key
    others = [one.key for one in manager.sessionList if one.key != mine]
    manager.TerminateSession(others)


def test_a_session_that_has_ended_is_taken_up_again(simulator: Any, center: Any) -> None:
    name = sorted(simulator.machines())[0]
    found = center.find(MachineLookup(names=(name,)), _soon())
    _end_other_sessions(simulator)
    assert center.machine(found, _soon()).name == name
    _end_other_sessions(simulator)
    center.create_snapshot(found, SnapshotRequest(name="s", description=""), _soon())
    assert simulator.tree(found) == [["s"]]


def test_a_session_may_end_while_a_task_is_waited_for(simulator: Any, center: Any) -> None:
    found = sorted(machine._moId for machine in simulator.machines().values())[0]
    simulator.inject(method="CreateSnapshot_Task", kind="taskdelay", ms=1500)
    begun = threading.Timer(0.7, _end_other_sessions, [simulator])
    begun.start()
    center.create_snapshot(found, SnapshotRequest(name="s", description=""), _soon())
    begun.join()
    assert simulator.tree(found) == [["s"]]


def test_a_certificate_that_is_not_trusted_is_refused(simulator: Any) -> None:
    from quiesce.providers.vsphere.client import VSphereClient

    config = {name: value for name, value in simulator.connection.items() if name != "certificate_path"}
    center = VSphereClient(VCenterEndpoint.of(config))
    with contextlib.closing(center), pytest.raises(NonRecoverableError) as caught:
        center.find(MachineLookup(names=("any",)), _soon())
    assert "certificate" in str(caught.value)
    assert "certificate_path" in caught.value.hint


def test_verification_is_switched_off_for_one_endpoint_only(simulator: Any) -> None:
    from quiesce.providers.vsphere.client import VSphereClient

    config = {name: value for name, value in simulator.connection.items() if name != "certificate_path"}
    center = VSphereClient(VCenterEndpoint.of({**config, "allow_insecure": True}))
    assert len(center.machines(None, _soon())) == 7
    center.close()


def test_a_wrong_password_is_told_and_not_shown(simulator: Any) -> None:
    from quiesce.providers.vsphere.client import VSphereClient

    center = VSphereClient(VCenterEndpoint.of({**simulator.connection, "password": "hush-hush"}))
    with contextlib.closing(center), pytest.raises(NonRecoverableError, match="InvalidLogin") as caught:
        center.find(MachineLookup(names=("any",)), _soon())
    assert "hush-hush" not in repr(caught.value)
    assert "hush-hush" not in str(caught.value.__cause__)


def test_the_inventory_is_read_page_by_page(
    simulator: Any, center: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("quiesce.providers.vsphere.session.reading._PAGE", 2)
    simulator.forget_calls()
    assert {one.name for one in center.machines(None, _soon())} == set(simulator.machines())
    assert simulator.calls()["ContinueRetrievePropertiesEx"] == 3


def test_a_machine_is_found_by_whatever_names_it(simulator: Any, center: Any) -> None:
    name, machine = sorted(simulator.machines().items())[0]
    uuid = machine.config.instanceUuid
    for resource in (machine._moId, uuid, name, f"DC0/vm/{name}"):
        assert center.find(MachineLookup(resource=resource), _soon()) == machine._moId
    assert center.find(MachineLookup(names=("nobody", name), datacenter="DC0"), _soon()) == machine._moId
    for lookup in (
        MachineLookup(resource="nobody"),
        MachineLookup(names=("nobody",)),
        MachineLookup(resource="DC0/vm/nobody"),
    ):
        with pytest.raises(ResourceNotFoundError):
            center.find(lookup, _soon())


def test_a_name_that_two_machines_have_is_an_error(simulator: Any, center: Any) -> None:
    name, machine = sorted(simulator.machines().items())[0]
    folder = machine.parent.CreateFolder("elsewhere")
    from pyVmomi import vim

    spec = vim.vm.CloneSpec(location=vim.vm.RelocateSpec(), powerOn=False, template=False)
    other = simulator.run(machine.CloneVM_Task(folder, "elsewhere-copy", spec))
    simulator.run(other.Rename_Task(name))
    with pytest.raises(ResourceNotFoundError, match="2 machines"):
        center.find(MachineLookup(names=(name,)), _soon())
    simulator.run(other.Destroy_Task())


def test_many_tasks_are_waited_for_together(simulator: Any, center: Any) -> None:
    machines = [machine._moId for machine in simulator.machines().values()]
    simulator.forget_calls()

    def snapshot(machine: str) -> str:
        request = SnapshotRequest(name="together", description="")
        return str(center.create_snapshot(machine, request, _soon()))

    with ThreadPoolExecutor(len(machines)) as threads:
        made = list(threads.map(snapshot, machines))
    assert len(set(made)) == len(machines)
    assert all(simulator.tree(machine) == [["together"]] for machine in machines)
    assert simulator.calls()["CreatePropertyCollector"] == 1


def test_a_guest_gets_the_time_that_was_asked_for(simulator: Any, center: Any) -> None:
    found = sorted(machine._moId for machine in simulator.machines().values())[0]
    simulator.tools_run(found)
    request = SnapshotRequest(name="slow", description="", quiesce=True, quiesce_timeout_min=10)
    center.create_snapshot(found, request, _soon())
    (snapshot,) = center.machine(found, _soon()).snapshots
    assert snapshot.quiesced


def test_what_has_changed_is_told_and_read_in_parts(simulator: Any, center: Any) -> None:
    from pyVmomi import vim

    found = sorted(machine._moId for machine in simulator.machines().values())[1]
    simulator.run(simulator.machine(found).ReconfigVM_Task(vim.vm.ConfigSpec(changeTrackingEnabled=True)))
    context = _soon()
    first = center.create_snapshot(found, SnapshotRequest(name="a", description=""), context)
    (before,) = center.disks_at(first)
    center.remove_snapshot(first, context)
    simulator.write(found, "new", offset=3 * 65536 + 100)
    second = center.create_snapshot(found, SnapshotRequest(name="b", description=""), context)
    (after,) = center.disks_at(second)
    areas = center.changed(found, second, after, before.change_id)
    assert areas == (DiskArea(start=3 * 65536, length=65536),)
    simulator.write(found, "too late", offset=3 * 65536 + 100)
    assert center.read(after, areas[0])[100:103] == b"new"


def test_a_fault_that_the_sdk_cannot_read_fails_its_own_task_only(simulator: Any, center: Any) -> None:
    first, second = sorted(machine._moId for machine in simulator.machines().values())[:2]
    bad = {"kind": "task", "fault": "InvalidPowerState", "bare": True}
    simulator.inject(method="CreateSnapshot_Task", object=first, **bad)
    with ThreadPoolExecutor(2) as threads:
        tries = [
            threads.submit(center.create_snapshot, one, SnapshotRequest(name="s", description=""), _soon())
            for one in (first, second)
        ]
        with pytest.raises(NonRecoverableError, match="does not understand"):
            tries[0].result()
        assert tries[1].result()
    simulator.heal()

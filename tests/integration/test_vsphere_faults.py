"""Every fault the simulator can inject, at every request of backup and restore: a clear error, no leak."""

from __future__ import annotations

import runpy
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from quiesce.errors import NonRecoverableError, ProviderError, RecoverableError
from quiesce.model.call import Call
from quiesce.model.ids import BackupName, DeploymentName, ExecutionId, InstanceId, NodeId, StepId
from quiesce.model.operation import SNAPSHOT_CREATE, Operation
from quiesce.model.outcome import Outcome
from quiesce.model.parameters import Parameters
from quiesce.model.topology import Node
from quiesce.ports import ProviderSettings
from quiesce.providers.vsphere.provider import VSphereProvider
from quiesce.testing import RecordingContext

pytestmark = pytest.mark.platform("vcenter")

#: more requests than any operation sends
MOST = 150


lab = SimpleNamespace(**runpy.run_path(str(Path(__file__).parents[1] / "labs" / "vcenter" / "lab.py")))


class Site:
    """One machine of the simulator, and a new provider for each test."""

    def __init__(self, simulator: Any, directory: Path) -> None:
        self.simulator = simulator
        self.directory = directory
        self.name, machine = next(iter(sorted(simulator.machines().items())))
        self.machine = machine._moId
        settings = ProviderSettings(state_dir=str(directory), repository_dir=str(directory / "backups"))
        self.provider = VSphereProvider(settings)

    def perform(self, operation: Operation, *, timeout_s: float = 30.0, **changes: Any) -> Outcome:
        context = RecordingContext(timeout_s=timeout_s)
        return self.provider.perform(self.call(operation, **changes), context)

    def call(self, operation: Operation, **changes: Any) -> Call:
        kind = "cloudify.vsphere.nodes.Server"
        hierarchy = ("cloudify.nodes.Root", "cloudify.nodes.Compute", kind)
        fields: dict[str, Any] = {
            "operation": operation,
            "interface": SNAPSHOT_CREATE,
            "function": "quiesce.vsphere.any",
            "deployment": DeploymentName("shop"),
            "execution": ExecutionId("exec1"),
            "step": StepId("step"),
            "attempt": 1,
            "instance": InstanceId("server_ab12"),
            "node": Node(id=NodeId("server"), type=kind, type_hierarchy=hierarchy),
            "properties": {"connection_config": self.simulator.connection, "resource_id": self.machine},
            "parameters": Parameters(),
            "point": BackupName("one"),
            "full": True,
        }
        return Call(**(fields | changes))

    def backup(self, *, timeout_s: float = 30.0, **changes: Any) -> Outcome:
        cut = self.perform(Operation.SNAPSHOT, timeout_s=timeout_s, **changes)
        return self.perform(Operation.COPY, timeout_s=timeout_s, artifact=cut.artifact, **changes)

    def write(self, text: str) -> None:
        self.simulator.write(self.machine, text)

    def read(self) -> str:
        return str(self.simulator.read(self.machine))

    def objects(self) -> frozenset[str]:
        stored = {f"file {path}" for path in (self.directory / "backups").rglob("*")}
        return frozenset(self.simulator.objects() | stored)

    def untouched(self) -> bool:
        """Tell whether no rule of the simulator has struck since the last `inject`."""
        left = bool(self.simulator.http("GET", "/lab/inject") == b"1\n")
        self.simulator.heal()
        return left


@pytest.fixture(scope="module")
def simulator(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    lab.require()
    flags = ("-lease-timeout", "2s")
    directory = tmp_path_factory.mktemp("vcenter")
    with lab.Lab(directory, machines=1, task_delay="4ms", flags=flags) as running:
        yield running


@pytest.fixture
def site(simulator: Any, tmp_path: Path) -> Iterator[Site]:
    site = Site(simulator, tmp_path)
    yield site
    site.provider.close()
    simulator.heal()
    _tidy(simulator, site.machine)


def _tidy(simulator: Any, machine: str) -> None:
    simulator.run(simulator.machine(machine).RemoveAllSnapshots_Task())
    for other in simulator.machines().values():
        if other._moId != machine:
            with suppress(Exception):
                simulator.run(other.Destroy_Task())


FAULTS = {
    "http-503": {"kind": "http", "status": 503},
    "dropped": {"kind": "drop"},
    "answer-lost": {"kind": "lost"},
    "not-authenticated": {"kind": "fault", "fault": "NotAuthenticated"},
    "task-in-progress": {"kind": "fault", "fault": "TaskInProgress"},
    "no-permission": {"kind": "fault", "fault": "NoPermission"},
    "task-file-locked": {"kind": "task", "fault": "FileLocked"},
    "task-no-space": {"kind": "task", "fault": "NoDiskSpace"},
}
#: the others take minutes
QUICK = {"answer-lost", "task-file-locked"}
ALL = pytest.mark.parametrize(
    "fault", [pytest.param(name, marks=() if name in QUICK else pytest.mark.slow) for name in FAULTS]
)


@ALL
def test_a_backup_that_fails_is_undone_whole(site: Site, fault: str) -> None:
    site.write("content")
    before = site.objects()
    for skip in range(MOST):
        site.simulator.inject(skip=skip, **FAULTS[fault])
        with suppress(ProviderError):
            site.backup()
        done = site.untouched()
        site.perform(Operation.DELETE, undo=True)
        _wait_for_leases(site)
        assert site.objects() == before, f"after {fault} at request {skip}"
        if done:
            return
    raise AssertionError("the loop is too short")


@ALL
def test_a_restore_that_fails_can_be_repeated(site: Site, fault: str) -> None:
    site.write("before")
    artifact = site.backup().artifact
    whole = site.objects()
    for skip in range(MOST):
        site.write("after")
        site.simulator.inject(skip=skip, **FAULTS[fault])
        with suppress(ProviderError):
            site.perform(Operation.APPLY, artifact=artifact)
        done = site.untouched()
        site.perform(Operation.APPLY, artifact=artifact)
        _wait_for_leases(site)
        assert site.read() == "before", f"after {fault} at request {skip}"
        assert site.simulator.power(site.machine) == "poweredOn", f"after {fault} at request {skip}"
        assert site.objects() == whole, f"after {fault} at request {skip}"
        if done:
            return
    raise AssertionError("the loop is too short")


@pytest.mark.slow
@pytest.mark.parametrize("operation", ["backup", "restore"])
def test_every_request_may_hang(site: Site, operation: str) -> None:
    """A request without an answer ends with the time that the operation has."""
    site.write("before")
    artifact = site.backup().artifact if operation == "restore" else None
    whole = site.objects()
    for skip in range(MOST):
        site.simulator.inject(skip=skip, kind="delay", ms=2500)
        with suppress(ProviderError):
            _run(site, operation, artifact, timeout_s=2.0)
        done = site.untouched()
        _repeat(site, operation, artifact)
        assert site.objects() == whole, f"after a delay of request {skip}"
        if done:
            return
    raise AssertionError("the loop is too short")


@pytest.mark.parametrize(
    ("fault", "error"),
    [
        ("FilesystemQuiesceFault", None),
        ("FileLocked", RecoverableError),
        ("TaskInProgress", RecoverableError),
        ("InvalidPowerState", RecoverableError),
        ("NotAuthenticated", RecoverableError),
        ("InsufficientCpuResourcesFault", NonRecoverableError),
        ("NoDiskSpace", NonRecoverableError),
        ("RestrictedVersion", NonRecoverableError),
    ],
)
def test_faults_of_tasks_are_told_apart(site: Site, fault: str, error: type[ProviderError] | None) -> None:
    site.simulator.tools_run(site.machine)
    site.simulator.inject(method="CreateSnapshot_Task", kind="task", fault=fault, message="said vCenter")
    if error is None:
        assert "not quiesced" in site.perform(Operation.SNAPSHOT, full=False).note
        return
    with pytest.raises(error) as caught:
        site.perform(Operation.SNAPSHOT, full=False)
    assert fault in str(caught.value)


def _run(site: Site, operation: str, artifact: Any, **limits: Any) -> None:
    if operation == "backup":
        site.backup(**limits)
    else:
        site.perform(Operation.APPLY, artifact=artifact, **limits)


def _repeat(site: Site, operation: str, artifact: Any) -> None:
    if operation == "backup":
        site.perform(Operation.DELETE, undo=True)
    else:
        site.perform(Operation.APPLY, artifact=artifact)
        assert site.read() == "before"
    _wait_for_leases(site)


def _wait_for_leases(site: Site) -> None:
    """Let vCenter end the leases whose end could not be told to it."""
    import time

    for _ in range(80):
        if site.simulator.http("GET", "/lab/leases").strip() == b"[]":
            return
        time.sleep(0.1)
    raise AssertionError("a lease stays open")

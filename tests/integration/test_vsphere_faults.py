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
from quiesce.model.operation import Operation

pytestmark = pytest.mark.platform("vcenter")

#: more requests than any operation sends
MOST = 150


lab = SimpleNamespace(**runpy.run_path(str(Path(__file__).parents[1] / "labs" / "vcenter" / "lab.py")))


@pytest.fixture(scope="module")
def simulator(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    lab.require()
    flags = ("-lease-timeout", "2s")
    directory = tmp_path_factory.mktemp("vcenter")
    with lab.Lab(directory, machines=1, task_delay="4ms", flags=flags) as running:
        yield running


@pytest.fixture
def site(simulator: Any, tmp_path: Path) -> Iterator[Any]:
    site = lab.Site(simulator, tmp_path)
    yield site
    site.close()


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
@pytest.mark.timeout(1200)
def test_a_backup_that_fails_is_undone_whole(site: Any, fault: str) -> None:
    site.write("content")
    before = site.objects()
    for skip in range(MOST):
        site.simulator.inject(skip=skip, **FAULTS[fault])
        with suppress(ProviderError):
            site.backup()
        done = site.untouched()
        site.perform(Operation.DELETE, undo=True)
        site.wait_for_leases()
        assert site.objects() == before, f"after {fault} at request {skip}"
        if done:
            return
    raise AssertionError("the loop is too short")


@ALL
@pytest.mark.timeout(1200)
def test_a_restore_that_fails_can_be_repeated(site: Any, fault: str) -> None:
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
        site.wait_for_leases()
        assert site.read() == "before", f"after {fault} at request {skip}"
        assert site.simulator.power(site.machine) == "poweredOn", f"after {fault} at request {skip}"
        assert site.objects() == whole, f"after {fault} at request {skip}"
        if done:
            return
    raise AssertionError("the loop is too short")


@pytest.mark.slow
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("operation", ["backup", "restore"])
def test_every_request_may_hang(site: Any, operation: str) -> None:
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
def test_faults_of_tasks_are_told_apart(site: Any, fault: str, error: type[ProviderError] | None) -> None:
    site.simulator.tools_run(site.machine)
    site.simulator.inject(method="CreateSnapshot_Task", kind="task", fault=fault, message="said vCenter")
    if error is None:
        assert "not quiesced" in site.perform(Operation.SNAPSHOT, full=False).note
        return
    with pytest.raises(error) as caught:
        site.perform(Operation.SNAPSHOT, full=False)
    assert fault in str(caught.value)


def _run(site: Any, operation: str, artifact: Any, **limits: Any) -> None:
    if operation == "backup":
        site.backup(**limits)
    else:
        site.perform(Operation.APPLY, artifact=artifact, **limits)


def _repeat(site: Any, operation: str, artifact: Any) -> None:
    if operation == "backup":
        site.perform(Operation.DELETE, undo=True)
    else:
        site.perform(Operation.APPLY, artifact=artifact)
        assert site.read() == "before"
    site.wait_for_leases()

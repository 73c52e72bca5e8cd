"""Answers the provider port from vCenters."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Final

from quiesce.errors import NonRecoverableError
from quiesce.model.call import Call
from quiesce.model.ids import Json
from quiesce.model.operation import Operation
from quiesce.model.outcome import Outcome
from quiesce.model.restore_point import Proof
from quiesce.ports import Context, Finding, ProviderSettings
from quiesce.providers.vsphere import backups, doctor, power, snapshots, volumes
from quiesce.providers.vsphere.center import Center
from quiesce.providers.vsphere.discovery import discover
from quiesce.providers.vsphere.endpoints import Endpoint, endpoint_of
from quiesce.providers.vsphere.job import Job
from quiesce.providers.vsphere.options import Options
from quiesce.repository import Repository

_VOLUMES: Final = frozenset(
    {"cloudify.nodes.vsphere.Storage", "cloudify.vsphere.nodes.Storage", "quiesce.nodes.vsphere.Disk"}
)


def connect(endpoint: Endpoint) -> Center:
    """Return a vCenter reached through pyVmomi; it logs in when it is first asked something."""
    from quiesce.providers.vsphere.client import PyVmomiCenter

    return PyVmomiCenter(endpoint)


class VSphereProvider:
    """Machines and their disks; one session for each vCenter."""

    def __init__(self, settings: ProviderSettings, connect: Callable[[Endpoint], Center] = connect) -> None:
        self._settings = settings
        self._connect = connect
        self._centers: dict[Endpoint, Center] = {}
        self._lock = threading.Lock()

    def perform(self, call: Call, context: Context) -> Outcome:
        """Perform one operation and return when its task is over."""
        if _VOLUMES.intersection(call.node.type_hierarchy):
            return volumes.perform(call)
        return _ON_MACHINE[call.operation](self._job(call, context))

    def is_frozen(self, call: Call, context: Context) -> bool | None:
        """Return None: the guest is frozen inside the cut only, and vSphere does not tell."""
        return None

    def doctor(self, call: Call, context: Context) -> Sequence[Finding]:
        """Check Tools, quiescing, disks, changed block tracking, snapshot chains, space and rights."""
        return doctor.examine(self._job(call, context))

    def verify(self, call: Call, context: Context) -> Proof:
        """Read a stored backup against its checksums; see that a clone or snapshot is there."""
        return backups.verify(self._job(call, context))

    def repository(self, call: Call) -> str:
        """Return where the instance's exports are kept."""
        return Options.of(call).repository or self._settings.repository_dir

    def discover(self, options: Mapping[str, str]) -> Mapping[str, Json]:
        """Return a blueprint of the machines on one vCenter."""
        return discover(options, self._center)

    def close(self) -> None:
        """Log out everywhere."""
        with self._lock:
            centers, self._centers = list(self._centers.values()), {}
        for center in centers:
            center.close()

    def _job(self, call: Call, context: Context) -> Job:
        options = Options.of(call)
        return Job(
            call=call,
            context=context,
            center=self._center(endpoint_of(call)),
            options=options,
            repository=Repository(Path(options.repository or self._settings.repository_dir)),
        )

    def _center(self, endpoint: Endpoint) -> Center:
        with self._lock:
            if endpoint not in self._centers:
                self._centers[endpoint] = self._connect(endpoint)
            return self._centers[endpoint]


def _snapshot(job: Job) -> Outcome:
    return backups.cut(job) if job.call.full else snapshots.take_snapshot(job)


def _apply(job: Job) -> Outcome:
    return backups.apply(job) if job.call.full else snapshots.apply_snapshot(job)


def _delete(job: Job) -> Outcome:
    return backups.delete(job) if job.call.full else snapshots.delete_snapshot(job)


def _measure(job: Job) -> Outcome:
    return Outcome(measurements=job.center.measure(job.machine_id()))


def _impossible(job: Job) -> Outcome:
    raise NonRecoverableError(
        f"vSphere has no {job.call.operation} of its own",
        hint="VMware Tools quiesce inside snapshot.create; remove this operation from the blueprint.",
    )


_ON_MACHINE: Final[Mapping[Operation, Callable[[Job], Outcome]]] = {
    Operation.FREEZE: _impossible,
    Operation.THAW: _impossible,
    Operation.SUSPEND: power.suspend,
    Operation.RESUME: power.resume,
    Operation.SNAPSHOT: _snapshot,
    Operation.COPY: backups.copy,
    Operation.APPLY: _apply,
    Operation.DELETE: _delete,
    Operation.MEASURE: _measure,
}

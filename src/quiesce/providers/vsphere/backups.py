"""Full copies that survive their machine: cut, copied after the thaw, checked, restored, removed."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Final

from quiesce.errors import ResourceNotFoundError
from quiesce.model.consistency import Consistency
from quiesce.model.ids import Json
from quiesce.model.outcome import Outcome
from quiesce.model.restore_point import Proof
from quiesce.providers.vsphere import clones, exports, snapshots
from quiesce.providers.vsphere.center import Machine, Snapshot
from quiesce.providers.vsphere.job import Job
from quiesce.providers.vsphere.marks import claim, object_name
from quiesce.providers.vsphere.options import Target
from quiesce.providers.vsphere.restores import apply_source, remove_temporary

#: what the snapshot that a copy is made from is called; it never stays behind
TEMPORARY: Final = "-temporary"


def cut(job: Job) -> Outcome:
    """Fix the point in time by a temporary snapshot; the data is moved by `copy`."""
    target = job.options.backup_to
    done = _finished(job, target)
    if done is not None:
        return Outcome(artifact=done)
    machine = job.settled()
    if target is Target.REPOSITORY:
        exports.begin(job)
    outcome = snapshots.cut(job, machine, _temporary(job))
    return Outcome(
        artifact={
            **(outcome.artifact or {}),
            "target": target.value,
            "cut_at": time.time(),
            "worth": (Consistency.CRASH if outcome.consistency is None else outcome.consistency).label,
            "hardware": dict(machine.hardware),
            "folder": machine.folder,
            "pool": machine.pool,
        },
        consistency=outcome.consistency,
        note=outcome.note,
    )


def copy(job: Job) -> Outcome:
    """Copy what the temporary snapshot holds to where it survives the machine; then remove the snapshot."""
    target = Target(str(job.artifact.get("target", job.options.backup_to)))
    machine = job.settled()
    done = _finished(job, target)
    if done is None:
        snapshot = _cut_of(job, machine)
        done = _copied(job, target, machine, snapshot)
    snapshots.remove(job, job.settled(), _temporary(job))
    return Outcome(artifact=done, note=snapshots.consolidation_note(job.machine()))


def apply(job: Job) -> Outcome:
    """Put the machine back from its full copy, or build another one beside it."""
    if _target(job) is Target.REPOSITORY:
        return apply_source(job, exports.source(job))
    return apply_source(job, clones.source(job))


def delete(job: Job) -> Outcome:
    """Remove the copy, finished or half-made, and every helper object of it."""
    machine = job.settled_if_there()
    if machine is not None:
        snapshots.remove(job, machine, _temporary(job))
    remove_temporary(job, machine)
    clones.delete(job)
    exports.delete(job)
    return Outcome()


def verify(job: Job) -> Proof:
    """Check what is stored without restoring it."""
    if not job.call.full:
        return _verify_snapshot(job)
    return exports.verify(job) if _target(job) is Target.REPOSITORY else clones.verify(job)


def _target(job: Job) -> Target:
    recorded = job.artifact.get("target")
    return Target(recorded) if recorded in list(Target) else job.options.backup_to


def _finished(job: Job, target: Target) -> Mapping[str, Json] | None:
    return exports.finished(job) if target is Target.REPOSITORY else clones.finished(job)


def _copied(job: Job, target: Target, machine: Machine, snapshot: Snapshot) -> Mapping[str, Json]:
    if target is Target.REPOSITORY:
        return exports.copy(job, machine, snapshot)
    return clones.copy(job, machine, snapshot)


def _cut_of(job: Job, machine: Machine) -> Snapshot:
    name = _temporary(job)
    found = machine.snapshot_named(name)
    if found is None:
        raise ResourceNotFoundError(
            f"the cut of {machine.name} is gone: it has no snapshot {name!r}",
            hint="Somebody removed it before it was copied; run the backup again.",
        )
    claim(job.call, found.description, f"the snapshot {name!r} of {machine.name}")
    return found


def _temporary(job: Job) -> str:
    return object_name(job.call, TEMPORARY)


def _verify_snapshot(job: Job) -> Proof:
    machine = job.machine()
    found = machine.snapshot_named(object_name(job.call))
    detail = "the snapshot is there" if found else f"{machine.name} has no snapshot of ours"
    return Proof(at=time.time(), kind="presence", passed=found is not None, detail=detail)

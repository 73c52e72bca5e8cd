"""Full copies as machines of their own: clones that are switched off, on a chosen datastore and folder."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from quiesce.errors import DamagedArtifactError, ResourceNotFoundError
from quiesce.model.ids import Json
from quiesce.model.restore_point import Proof
from quiesce.providers.vsphere.center import CopyRequest, Machine, Power, Snapshot
from quiesce.providers.vsphere.job import Job
from quiesce.providers.vsphere.marks import MARK, STATE, Mark, claim, marks_of, object_name, removable
from quiesce.providers.vsphere.power import destroy

_MAKING: Final = "making"
_COMPLETE: Final = "complete"


@dataclass(frozen=True, slots=True, kw_only=True)
class ClonedSource:
    """A complete clone, ready to be restored from."""

    job: Job
    clone: Machine

    @property
    def content(self) -> Mapping[str, Json]:
        """What was recorded at the cut."""
        return self.job.artifact or {"name": self.clone.name, "hardware": dict(self.clone.hardware)}

    def materialise(self, name: str, marks: Mapping[str, str], *, connected: bool) -> str:
        """Make a machine of the stored state and return its id; it is switched off."""
        options = self.job.options
        request = CopyRequest(
            name=name,
            marks=marks,
            datastore=options.datastore,
            folder=options.folder,
            pool=_text(self.job.artifact.get("pool")),
        )
        return self.job.center.clone(self.clone.id, None, request, self.job.context)


def finished(job: Job) -> Mapping[str, Json] | None:
    """Return the artifact of the clone that this execution has completed already.

    Raises:
        ForeignObjectError: when somebody else, or another execution, made a machine of that name.
    """
    found = _claimed(job)
    if found is None or found.marks.get(STATE) != _COMPLETE:
        return None
    return _artifact(job, found)


def copy(job: Job, machine: Machine, snapshot: Snapshot) -> Mapping[str, Json]:
    """Clone *machine* as it was at *snapshot*; a half-made clone is made anew."""
    half_made = _claimed(job)
    if half_made is not None:
        destroy(job, half_made)
    request = CopyRequest(
        name=object_name(job.call),
        marks=marks_of(job.call, **{STATE: _MAKING}),
        datastore=job.options.datastore,
        folder=job.options.folder,
    )
    clone = job.center.clone(machine.id, snapshot.id, request, job.context)
    job.center.mark(clone, {STATE: _COMPLETE}, job.context)
    return _artifact(job, job.center.machine(clone))


def source(job: Job) -> ClonedSource:
    """Return the clone, ready to be restored from.

    Raises:
        ResourceNotFoundError: when there is no complete one.
        DamagedArtifactError: when it has other disks than it was made with.
    """
    clone = _complete(job)
    if damage := _damage(job, clone):
        raise DamagedArtifactError(damage)
    return ClonedSource(job=job, clone=clone)


def delete(job: Job) -> None:
    """Remove the clone, finished or half-made; a machine of that name that is not ours stays."""
    for found in job.named(object_name(job.call)):
        if removable(job.call, found.marks.get(MARK, "")):
            destroy(job, found)
        else:
            job.warn(f"the machine {found.name!r} is not ours to remove and was left alone")


def verify(job: Job) -> Proof:
    """See that the clone is there, complete, switched off, and has the disks that it was made with."""
    try:
        damage = _damage(job, _complete(job))
    except ResourceNotFoundError as error:
        damage = str(error)
    return Proof(at=time.time(), kind="presence", passed=not damage, detail=damage)


def _claimed(job: Job) -> Machine | None:
    found = None
    for found in job.named(object_name(job.call)):
        claim(job.call, found.marks.get(MARK, ""), f"the machine {found.name!r}")
    return found


def _complete(job: Job) -> Machine:
    mine = Mark.of(job.call)
    for found in job.named(object_name(job.call)):
        if found.marks.get(STATE) == _COMPLETE and mine.same_point(Mark.read(found.marks.get(MARK, ""))):
            return found
    raise ResourceNotFoundError(f"there is no complete clone {object_name(job.call)!r}")


def _damage(job: Job, clone: Machine) -> str:
    disks = job.artifact.get("disks")
    if clone.power is not Power.OFF:
        return f"{clone.name} was switched on, so it is not what was saved any more"
    if isinstance(disks, list) and disks != _disks(clone):
        return f"{clone.name} has other disks than it was made with"
    return ""


def _artifact(job: Job, clone: Machine) -> Mapping[str, Json]:
    disks: list[Json] = [*_disks(clone)]
    size = sum(disk.capacity_bytes for disk in clone.disks)
    return {**job.artifact, "objects": [clone.id], "clone": clone.id, "disks": disks, "size_bytes": size}


def _disks(machine: Machine) -> list[dict[str, Json]]:
    return [
        {"key": disk.key, "capacity_bytes": disk.capacity_bytes, "file": disk.file} for disk in machine.disks
    ]


def _text(value: Json) -> str | None:
    return str(value) if value else None

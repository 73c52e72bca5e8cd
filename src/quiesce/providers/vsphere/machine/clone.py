"""Full copies as machines of their own: clones that are switched off, on a chosen datastore and folder."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import replace

from quiesce.errors import DamagedArtifactError, ResourceNotFoundError
from quiesce.model.ids import Json
from quiesce.model.restore_point import Proof
from quiesce.provider_kit.artifact import as_artifact, read_artifact
from quiesce.provider_kit.ownership import claim, is_removable, made_for
from quiesce.provider_kit.saving import proof
from quiesce.providers.vsphere.inventory import MachineSnapshot, PowerState, VirtualDisk, VirtualMachine
from quiesce.providers.vsphere.job import VSphereJob
from quiesce.providers.vsphere.machine.artifact import BackupArtifact, SavedDisk
from quiesce.providers.vsphere.machine.power import destroy
from quiesce.providers.vsphere.ownership import (
    ARTIFACT,
    STATE,
    MachineState,
    marks_of,
    object_name,
    owner_of_machine,
)
from quiesce.providers.vsphere.vcenter import CloneRequest


class ClonedCopy:
    """Answers `FullCopy` by a clone, which carries the artifact in its own settings."""

    def __init__(self, job: VSphereJob) -> None:
        self._job = job
        self._name = object_name(job.call)

    def finished(self) -> Mapping[str, Json] | None:
        """Return the artifact of the clone that this execution has completed already."""
        found = self._claimed()
        if found is None or found.marks.get(STATE) != MachineState.COMPLETE:
            return None
        return as_artifact(_recorded(found))

    def begin(self) -> None:
        """Nothing to do: `finished` has looked for machines of that name."""

    def copy(
        self, artifact: BackupArtifact, machine: VirtualMachine, snapshot: MachineSnapshot
    ) -> Mapping[str, Json]:
        """Clone *machine* as it was at *snapshot*; a half-made clone is made anew."""
        half_made = self._claimed()
        if half_made is not None:
            destroy(self._job, half_made)
        job, vcenter = self._job, self._job.vcenter
        clone = vcenter.clone(machine.id, snapshot.id, self._request(), job.time)
        made = vcenter.machine(clone, job.time)
        done = as_artifact(
            replace(
                artifact,
                objects=(clone,),
                clone=clone,
                disks=_saved(made.disks),
                size_bytes=sum(disk.capacity_bytes for disk in made.disks),
            )
        )
        vcenter.mark(clone, {STATE: MachineState.COMPLETE, ARTIFACT: json.dumps(done)}, job.time)
        return done

    def checked(self) -> BackupArtifact:
        """Return what was recorded, once the clone is known to be as it was made."""
        clone = self._complete()
        artifact = _recorded(clone)
        if clone.power is not PowerState.OFF:
            raise DamagedArtifactError(f"{clone.name} was switched on, so it is not what was saved any more")
        if artifact.disks != _saved(clone.disks):
            raise DamagedArtifactError(f"{clone.name} has other disks than it was made with")
        return artifact

    def build_machine(
        self, artifact: BackupArtifact, name: str, marks: Mapping[str, str], *, connected: bool
    ) -> str:
        """Clone the clone."""
        job = self._job
        request = replace(self._request(), name=name, marks=marks, pool=artifact.pool)
        return job.vcenter.clone(self._complete().id, None, request, job.time)

    def verify(self) -> Proof:
        """See that the clone is there, complete, switched off, and has the disks that it was made with."""
        try:
            artifact = self.checked()
        except (ResourceNotFoundError, DamagedArtifactError) as error:
            return proof("presence", damage=str(error))
        return proof("presence", detail=f"the clone {artifact.clone} is there with its disks")

    def delete(self) -> None:
        """Remove the clone, finished or half-made; a machine of that name that is not ours stays."""
        for found in self._job.machines_named(self._name):
            if is_removable(self._job.call, owner_of_machine(found)):
                destroy(self._job, found)
            else:
                self._job.warn(f"the machine {found.name!r} is not ours to remove and was left alone")

    def _request(self) -> CloneRequest:
        return CloneRequest(
            name=self._name,
            marks=marks_of(self._job.call, MachineState.MAKING),
            datastore=self._job.options.datastore,
            folder=self._job.options.folder,
        )

    def _claimed(self) -> VirtualMachine | None:
        found = None
        for found in self._job.machines_named(self._name):
            claim(self._job.call, owner_of_machine(found), f"the machine {found.name!r}")
        return found

    def _complete(self) -> VirtualMachine:
        for found in self._job.machines_named(self._name):
            complete = found.marks.get(STATE) == MachineState.COMPLETE
            if complete and made_for(self._job.call, owner_of_machine(found)):
                return found
        raise ResourceNotFoundError(f"there is no complete clone {self._name!r}")


def _recorded(clone: VirtualMachine) -> BackupArtifact:
    try:
        return read_artifact(BackupArtifact, json.loads(clone.marks.get(ARTIFACT, "")))
    except (ValueError, RecursionError) as error:
        raise DamagedArtifactError(f"{clone.name} does not say any more what it was made of") from error


def _saved(disks: Iterable[VirtualDisk]) -> tuple[SavedDisk, ...]:
    return tuple(
        SavedDisk(key=disk.key, capacity_bytes=disk.capacity_bytes, file=disk.file) for disk in disks
    )

"""Putting a full copy back: a machine is made of it next to the present one, then the disks change places.

The order makes every moment recoverable. The temporary machine says in its own configuration how far the
restore is, so that a repetition goes on where the first one died:

1. the temporary machine is made and marked *ready*;
2. the machine gives its disks up and takes the restored ones, in one change;
3. the temporary machine takes the old disks, in one change, and is marked *spent*;
4. the temporary machine is destroyed, and the old disks with it.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterable, Iterator
from typing import Final

from quiesce.errors import DamagedArtifactError, ForeignObjectError, ProviderError, UnsupportedError
from quiesce.model.outcome import Outcome
from quiesce.provider_kit.artifact import as_artifact, read_artifact
from quiesce.provider_kit.ownership import claim, is_removable, made_by, made_for
from quiesce.providers.vsphere.inventory import DiskBacking, PowerState, VirtualMachine, datastore_of
from quiesce.providers.vsphere.job import VSphereJob
from quiesce.providers.vsphere.machine.artifact import BackupArtifact, ReplacedDisks
from quiesce.providers.vsphere.machine.full_copy import FullCopy
from quiesce.providers.vsphere.machine.power import (
    destroy,
    leave_as_asked,
    leave_running,
    switch_off_to_restore,
)
from quiesce.providers.vsphere.machine.snapshot import sentences
from quiesce.providers.vsphere.options import BackupTarget, PowerAfter
from quiesce.providers.vsphere.ownership import (
    REPLACED,
    STATE,
    MachineState,
    marks_of,
    no_marks,
    object_name,
    owner_of_machine,
)

_SUFFIX: Final = "-restoring"
#: file systems, by the API's names, on which a machine's folder is an object that goes with the machine
_OBJECT_STORES: Final = ("vsan", "vsanD", "VVOL")


def apply(job: VSphereJob, full_copy: FullCopy) -> Outcome:
    """Restore *full_copy* beside the present machine when asked to, else in its place."""
    restoring = _Restoring(job, full_copy)
    if job.options.restore_to:
        return restoring.beside(job.options.restore_to)
    machine = job.idle_machine_if_there()
    return restoring.anew() if machine is None else restoring.in_place(machine)


def remove_temporary(job: VSphereJob, machine: VirtualMachine | None) -> None:
    """Remove what a restore that died has left, without harm to the machine's disks."""
    _remove_named(job, machine, _temporary_name(job))


class _Restoring:
    """One restore from a copy that was checked."""

    def __init__(self, job: VSphereJob, full_copy: FullCopy) -> None:
        self._job = job
        self._copy = full_copy
        self._artifact: BackupArtifact = full_copy.checked()

    def beside(self, name: str) -> Outcome:
        """Make another machine called *name*."""
        job = self._job
        for found in job.machines_named(name):
            claim(job.call, owner_of_machine(found), f"the machine {name!r}")
            if _state(found) is MachineState.READY:
                return Outcome(result={"machine": found.id, "name": name})
            destroy(job, found)
        with _leaving_nothing(job, name):
            made = self._make(name, connected=False)
            lost = self._give_attributes(made)
            if job.options.power_after is PowerAfter.ON:
                job.vcenter.power_on(made, job.time)
        note = sentences(f"restored as {name}; the present machine was left alone.", lost)
        return Outcome(note=note, result={"machine": made, "name": name})

    def anew(self) -> Outcome:
        """Make the machine again that is gone, under its old name."""
        job, name = self._job, self._artifact.cut.name
        if job.vcenter.machines_named(name, job.time):
            raise ForeignObjectError(
                f"{job.call.instance}'s machine is gone, and another one is called {name!r}"
            )
        with _leaving_nothing(job, _temporary_name(job)):
            made = self._ready(None)
            lost = self._give_attributes(made.id)
            job.vcenter.rename(made.id, name, job.time)
            job.vcenter.mark(made.id, no_marks(made), job.time)
        job.state.write(vsphere_server_id=made.id, name=name)
        note = leave_as_asked(job, made.id, self._artifact.cut.power)
        return Outcome(note=sentences(f"{name} was gone and was made again as {made.id}.", lost, note))

    def in_place(self, machine: VirtualMachine) -> Outcome:
        """Give the machine the copy's disks; it stays what it is."""
        job = self._job
        refuse_object_store(job, self._datastores())
        _refuse_raw_devices(machine, self._artifact)
        with _leaving_nothing(job, _temporary_name(job), machine):
            temporary = self._ready(machine)
            _refuse_unlike(machine, temporary)
            switch_off_to_restore(job, machine)
            note = self._exchange(machine, temporary)
            destroy(job, temporary)
            powered = leave_as_asked(job, machine.id, self._artifact.cut.power)
        return Outcome(note=sentences(note, powered))

    def _give_attributes(self, made: str) -> str:
        """Give the machine the custom attributes of the saved one; return all that it has not of that one."""
        lost = list(not_kept(self._artifact, beside=bool(self._job.options.restore_to)))
        for name, value in self._artifact.attributes.items():
            try:
                self._job.vcenter.set_attribute(made, name, value)
            except ProviderError as error:
                lost.append(f"its attribute {name!r}: {error}")
        return f"not kept: {'; '.join(lost)}." if lost else ""

    def _datastores(self) -> set[str]:
        """Return the names of the datastores that the temporary machine will lie on."""
        if self._job.options.datastore:
            return {self._job.options.datastore}
        clones = {datastore_of(disk.file) for disk in self._artifact.disks}
        return (clones - {""}) or {self._artifact.hardware.datastore or ""} - {""}

    def _ready(self, machine: VirtualMachine | None) -> VirtualMachine:
        """Return the temporary machine, made now or by an earlier attempt of this execution."""
        job = self._job
        for found in job.machines_named(_temporary_name(job)):
            owner = owner_of_machine(found)
            if not made_for(job.call, owner):
                raise ForeignObjectError(f"the machine {found.name!r} exists already and is not ours")
            if made_by(job.call, owner) and _state(found) in (MachineState.READY, MachineState.SPENT):
                return found
            _dissolve(job, machine, found)
        made = self._make(_temporary_name(job), connected=machine is None)
        return job.vcenter.machine(made, job.time)

    def _make(self, name: str, *, connected: bool) -> str:
        marks = marks_of(self._job.call, MachineState.MAKING)
        made = self._copy.build_machine(self._artifact, name, marks, connected=connected)
        self._job.vcenter.mark(made, {STATE: MachineState.READY}, self._job.time)
        return made

    def _exchange(self, machine: VirtualMachine, temporary: VirtualMachine) -> str:
        """Let the disks change places; return a note about disks that stay where they are."""
        if _state(temporary) is MachineState.SPENT:
            return ""
        if not _holds(machine, temporary):
            temporary = self._put_into(machine, temporary)
        return _hand_over(self._job, machine, temporary)

    def _put_into(self, machine: VirtualMachine, temporary: VirtualMachine) -> VirtualMachine:
        job = self._job
        positions = {disk.position for disk in temporary.disks}
        old = tuple(disk for disk in machine.disks if disk.position in positions)
        replaced = json.dumps(as_artifact(ReplacedDisks(disks=old)))
        job.vcenter.mark(temporary.id, {REPLACED: replaced}, job.time)
        job.vcenter.exchange(
            machine.id,
            out=old,
            into=temporary.disks,
            hardware=self._artifact.hardware,
            marks={},
            deadline=job.time,
        )
        return job.vcenter.machine(temporary.id, job.time)


def not_kept(artifact: BackupArtifact, *, beside: bool) -> tuple[str, ...]:
    """Return what a machine that is made of a copy has not of the one that was saved."""
    hardware, built = artifact.hardware, artifact.target is BackupTarget.REPOSITORY
    promised = any(one is not None and one.reservation for one in (hardware.cpu, hardware.memory))
    lost = {
        "its tags, permissions, storage policies and its places in rules and start-up orders, which are the "
        "vCenter's and the hosts'": True,
        f"{', '.join(hardware.others)}": built and bool(hardware.others),
        "its BIOS UUID": built,
        "its network cards": built and beside and bool(hardware.cards),
        "its reservations": built and beside and promised,
    }
    return tuple(what for what, applies in lost.items() if applies)


def foreseen(job: VSphereJob) -> tuple[str, ...]:
    """Return what a restore of the call's copy will not keep; nothing, when the machine stays what it is."""
    beside = bool(job.options.restore_to)
    if job.call.artifact is None or (not beside and job.idle_machine_if_there() is not None):
        return ()
    return not_kept(read_artifact(BackupArtifact, job.call.artifact), beside=beside)


def refuse_object_store(job: VSphereJob, datastores: Iterable[str]) -> None:
    """Raise when one of *datastores* removes a machine's folder with it.

    The restored disks lie in the temporary machine's folder, and stay there.
    """
    for name in datastores:
        kind = job.vcenter.datastore_type(name)
        if kind in _OBJECT_STORES:
            raise UnsupportedError(
                f"a restore in place would leave disks in the folder of another machine, which the "
                f"datastore {name!r} ({kind}) may remove with that machine",
                hint="Restore beside with vsphere_restore_to, or by way of another vsphere_datastore.",
            )


def _refuse_raw_devices(machine: VirtualMachine, artifact: BackupArtifact) -> None:
    saved = {disk.key for disk in artifact.disks}
    mapped = [
        disk.label for disk in machine.disks if disk.backing is DiskBacking.MAPPED and disk.key in saved
    ]
    if mapped:
        raise UnsupportedError(
            f"{machine.name}: a file would take the place of the raw device {', '.join(mapped)}",
            hint="Restore beside with vsphere_restore_to, and copy from there.",
        )


@contextlib.contextmanager
def _leaving_nothing(job: VSphereJob, name: str, running: VirtualMachine | None = None) -> Iterator[None]:
    """When the restore fails for good: remove the machine *name* that it made, let *running* run again."""
    try:
        yield
    except ProviderError as error:
        if _is_last_attempt(job, error):
            _clean_up(job, name, running)
        raise


def _is_last_attempt(job: VSphereJob, error: ProviderError) -> bool:
    retries = job.call.parameters.task_retries
    return not error.retryable or 0 <= retries < job.call.attempt


def _clean_up(job: VSphereJob, name: str, running: VirtualMachine | None) -> None:
    """Leave nothing behind after a failure; what cannot be removed now is removed by the next attempt."""
    try:
        _remove_named(job, job.idle_machine_if_there(), name)
        if running is not None and running.power is PowerState.ON:
            leave_running(job, running.id)
    except ProviderError as error:
        job.warn(f"the machine {name!r} may be left; the next restore or remove_backup removes it: {error}")


def _remove_named(job: VSphereJob, machine: VirtualMachine | None, name: str) -> None:
    for found in job.machines_named(name):
        if is_removable(job.call, owner_of_machine(found)):
            _dissolve(job, machine, found)


def _refuse_unlike(machine: VirtualMachine, temporary: VirtualMachine) -> None:
    """Raise when the machine's controllers are not those that the restored disks need."""
    have = {controller.key for controller in machine.hardware.controllers}
    missing = {disk.controller for disk in temporary.disks} - have
    if missing and _state(temporary) is MachineState.READY:
        raise UnsupportedError(
            f"{machine.name} has no disk controller {', '.join(map(str, sorted(missing)))} any more",
            hint="Add it, or restore beside with vsphere_restore_to.",
        )


def _hand_over(job: VSphereJob, machine: VirtualMachine, temporary: VirtualMachine) -> str:
    """Give the old disks to the temporary machine; those that snapshots read through stay."""
    try:
        old = read_artifact(ReplacedDisks, json.loads(temporary.marks.get(REPLACED) or "{}")).disks
    except (ValueError, RecursionError) as error:
        raise DamagedArtifactError(f"{temporary.name} does not say which disks it replaces") from error
    kept = old if machine.snapshots else ()
    job.vcenter.exchange(
        temporary.id,
        out=temporary.disks,
        into=() if kept else old,
        hardware=None,
        marks={STATE: MachineState.SPENT},
        deadline=job.time,
    )
    if not kept:
        return ""
    return f"kept for {machine.name}'s snapshots: {', '.join(disk.file for disk in kept)}."


def _dissolve(job: VSphereJob, machine: VirtualMachine | None, temporary: VirtualMachine) -> None:
    """Destroy the temporary machine without taking disks with it that the machine uses now."""
    ready = _state(temporary) is MachineState.READY
    if machine is not None and ready and _holds(machine, temporary):
        _hand_over(job, machine, temporary)
    destroy(job, temporary)


def _holds(machine: VirtualMachine, temporary: VirtualMachine) -> bool:
    files = {disk.file for disk in machine.disks}
    return any(disk.file in files for disk in temporary.disks)


def _temporary_name(job: VSphereJob) -> str:
    return object_name(job.call, _SUFFIX)


def _state(machine: VirtualMachine) -> MachineState | None:
    """Return how far a machine of ours is; None when it does not say."""
    recorded = machine.marks.get(STATE)
    return MachineState(recorded) if recorded in set(MachineState) else None

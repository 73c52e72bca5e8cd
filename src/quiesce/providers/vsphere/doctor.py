"""What an operator should know about a machine before a backup is tried."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final

from quiesce.errors import ProviderError, UnsupportedError
from quiesce.ports import Finding
from quiesce.providers.vsphere.inventory import PowerState, VirtualMachine
from quiesce.providers.vsphere.job import VSphereJob
from quiesce.providers.vsphere.machine.backup import TEMPORARY, refuse_encrypted
from quiesce.providers.vsphere.machine.restore import refuse_object_store
from quiesce.providers.vsphere.machine.snapshot import consolidation_note, refuse_or_leave_out
from quiesce.providers.vsphere.options import BackupTarget, ChangeTracking, Quiescing
from quiesce.providers.vsphere.ownership import owner_of_snapshot

#: vSphere refuses more in one chain; VMware advises three or less
_CHAIN_LIMIT: Final = 32
_CHAIN_ADVISED: Final = 3
#: of the disks' size that should be free for what is written while a snapshot exists
_SPACE_SHARE: Final = 0.1
_RIGHTS: Final = (
    "VirtualMachine.Interact.PowerOn",
    "VirtualMachine.Interact.PowerOff",
    "VirtualMachine.Interact.Suspend",
    "VirtualMachine.State.CreateSnapshot",
    "VirtualMachine.State.RevertToSnapshot",
    "VirtualMachine.State.RemoveSnapshot",
)
#: what the restore of a full copy needs of the machine that it makes or changes
_RESTORE_RIGHTS: Final = (
    "VirtualMachine.Config.AddExistingDisk",
    "VirtualMachine.Config.AdvancedConfig",
    "VirtualMachine.Config.RemoveDisk",
    "VirtualMachine.Config.Rename",
    "VirtualMachine.Inventory.Delete",
)
_BACKUP_RIGHTS: Final = {
    BackupTarget.REPOSITORY: ("VApp.Export", "VApp.Import", "VirtualMachine.Inventory.Create"),
    BackupTarget.CLONE: ("VirtualMachine.Provisioning.Clone", "VirtualMachine.Inventory.CreateFromExisting"),
}


def findings(job: VSphereJob) -> Sequence[Finding]:
    """Return every check made, passed or not; changes nothing."""
    machine = job.machine()
    return [
        Finding(check="machine", passed=True, detail=f"{machine.name} ({machine.id}) is {machine.power}"),
        _tools(machine),
        *_heartbeat(machine),
        _quiescing(job, machine),
        *_devices(job, machine),
        _disks(job, machine),
        _encryption(job, machine),
        _tracking(job, machine),
        _chain(machine),
        *_leftovers(machine),
        _consolidation(machine),
        *_asked(job, machine),
    ]


def _tools(machine: VirtualMachine) -> Finding:
    if machine.power is not PowerState.ON:
        return Finding(check="tools", passed=True, detail=f"not needed: the machine is {machine.power}")
    detail = "VMware Tools run" if machine.tools_running else "VMware Tools do not run"
    remedy = "" if machine.tools_running else "Install open-vm-tools in the guest and start it."
    return Finding(check="tools", passed=machine.tools_running, detail=detail, remedy=remedy)


def _heartbeat(machine: VirtualMachine) -> Iterator[Finding]:
    """Tools that run prove little: they may hang, or hold the guest frozen since its last snapshot."""
    if machine.power is PowerState.ON and machine.heartbeat in ("yellow", "red"):
        yield Finding(
            check="heartbeat",
            passed=False,
            detail=f"the guest's heartbeat is {machine.heartbeat}: it hangs, or is frozen",
            remedy="Look at its console; reset it if nothing helps.",
        )


def _devices(job: VSphereJob, machine: VirtualMachine) -> Iterator[Finding]:
    """Tell which devices a repository copy does not hold; of a TPM something is lost with it."""
    others = machine.hardware.others
    if others and job.options.backup_to is BackupTarget.REPOSITORY:
        sealed = any("TPM" in label for label in others)
        yield Finding(
            check="devices",
            passed=not sealed,
            detail=f"a machine that is made again of a full copy is without {', '.join(others)}",
            remedy="Keep the recovery keys of what its TPM seals, or set vsphere_backup_to: clone."
            if sealed
            else "",
        )


def _quiescing(job: VSphereJob, machine: VirtualMachine) -> Finding:
    wish = job.options.quiesce
    can = machine.tools_running and not job.options.snapshot_memory
    passed = machine.power is not PowerState.ON or can or wish is Quiescing.NEVER
    if passed:
        return Finding(check="quiesce", passed=True, detail=f"vsphere_quiesce is {wish}")
    why = "memory is saved too" if job.options.snapshot_memory else "VMware Tools do not run"
    result = "fail" if wish is Quiescing.ALWAYS else "be no more than crash-consistent"
    return Finding(
        check="quiesce",
        passed=False,
        detail=f"the guest cannot be quiesced ({why}), so the cut would {result}",
        remedy="Start VMware Tools and leave vsphere_snapshot_memory out, or set vsphere_quiesce: never.",
    )


def _disks(job: VSphereJob, machine: VirtualMachine) -> Finding:
    try:
        left_out = refuse_or_leave_out(job, machine)
    except ProviderError as error:
        return Finding(check="disks", passed=False, detail=str(error), remedy=error.hint)
    detail = f"{len(machine.disks) - len(left_out)} of {len(machine.disks)} disks would be saved"
    return Finding(check="disks", passed=True, detail=detail)


def _encryption(job: VSphereJob, machine: VirtualMachine) -> Finding:
    try:
        refuse_encrypted(job, machine)
    except ProviderError as error:
        return Finding(check="encryption", passed=False, detail=str(error), remedy=error.hint)
    encrypted = sum(disk.encrypted for disk in machine.disks)
    return Finding(check="encryption", passed=True, detail=f"{encrypted} disks are encrypted")


def _tracking(job: VSphereJob, machine: VirtualMachine) -> Finding:
    if job.options.change_tracking is ChangeTracking.NEVER:
        detail = "vsphere_change_tracking is never: every backup reads whole disks"
        return Finding(check="changed-blocks", passed=True, detail=detail)
    if machine.change_tracking:
        detail = (
            "changed block tracking is on; samples are compared, and whole disks are read after "
            f"{job.options.full_read_every} copies"
        )
        return Finding(check="changed-blocks", passed=True, detail=detail)
    return Finding(
        check="changed-blocks",
        passed=True,
        detail="changed block tracking is off, so every backup reads whole disks; to turn it on, set "
        "changeTrackingEnabled on the machine and take and remove one snapshot",
    )


def _chain(machine: VirtualMachine) -> Finding:
    depth = _depth(machine)
    passed = depth <= _CHAIN_ADVISED
    return Finding(
        check="snapshots",
        passed=passed,
        detail=f"the longest chain has {depth} snapshots; vSphere refuses more than {_CHAIN_LIMIT}",
        remedy="" if passed else "Remove restore points that are not needed: quiesce remove-backup.",
    )


def _leftovers(machine: VirtualMachine) -> Iterator[Finding]:
    for snapshot in machine.snapshots:
        owner = owner_of_snapshot(snapshot)
        if owner is not None and snapshot.name.endswith(TEMPORARY):
            yield Finding(
                check="leftovers",
                passed=False,
                detail=f"the temporary snapshot {snapshot.name!r} of execution {owner.execution} is there",
                remedy="If that execution does not run any more: quiesce recover, or quiesce remove-backup.",
            )


def _consolidation(machine: VirtualMachine) -> Finding:
    note = consolidation_note(machine)
    return Finding(check="consolidation", passed=not note, detail=note or "no disk needs it", remedy=note)


def _asked(job: VSphereJob, machine: VirtualMachine) -> Iterator[Finding]:
    for name, check in (("space", _space), ("rights", _rights), ("in-place", _in_place)):
        try:
            yield check(job, machine)
        except ProviderError as error:
            yield Finding(
                check=name, passed=False, detail=f"could not be checked: {error}", remedy=error.hint
            )


def _space(job: VSphereJob, machine: VirtualMachine) -> Finding:
    free = job.vcenter.free_bytes(machine.id)
    wanted = int(sum(disk.capacity_bytes for disk in machine.disks) * _SPACE_SHARE)
    detail = f"{free >> 20} MiB are free on the fullest datastore; {wanted >> 20} MiB are advised"
    remedy = (
        "" if free >= wanted else "Make room: while a snapshot exists, what is written takes space twice."
    )
    return Finding(check="space", passed=free >= wanted, detail=detail, remedy=remedy)


def _rights(job: VSphereJob, machine: VirtualMachine) -> Finding:
    wanted = [*_RIGHTS, *_BACKUP_RIGHTS[job.options.backup_to], *_RESTORE_RIGHTS]
    missing = job.vcenter.missing_rights(machine.id, wanted)
    if not missing:
        return Finding(check="rights", passed=True, detail=f"all {len(wanted)} privileges are there")
    return Finding(
        check="rights",
        passed=False,
        detail=f"missing privileges: {', '.join(missing)}",
        remedy="Add them to the role of this login on the machine and what it lies in.",
    )


def _in_place(job: VSphereJob, machine: VirtualMachine) -> Finding:
    """Tell how full copies come back; that it is not in place is nothing to be mended."""
    stores = {job.options.datastore} if job.options.datastore else {machine.hardware.datastore}
    try:
        refuse_object_store(job, [name for name in stores if name])
    except UnsupportedError as error:
        detail = f"full copies cannot be restored in place: {error}. {error.hint}"
        return Finding(check="in-place", passed=True, detail=detail)
    return Finding(check="in-place", passed=True, detail="full copies can be restored in place")


def _depth(machine: VirtualMachine) -> int:
    parents = {snapshot.id: snapshot.parent for snapshot in machine.snapshots}
    longest = 0
    for parent in parents.values():
        length, at = 0, parent
        while at is not None:
            length, at = length + 1, parents.get(at)
        longest = max(longest, length + 1)
    return longest

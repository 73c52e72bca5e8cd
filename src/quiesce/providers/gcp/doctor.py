"""What ``quiesce doctor`` finds out: rights, quotas, and what the platform would refuse."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Final

from quiesce.errors import ProviderError
from quiesce.ports import Finding
from quiesce.providers.gcp import power
from quiesce.providers.gcp.copy.group import group_of
from quiesce.providers.gcp.job import GcpJob
from quiesce.providers.gcp.references import INSTANTS, Reference, last_part, region_of
from quiesce.providers.gcp.resources import RUNNING, GcpMachine

MACHINE_RIGHTS: Final = (
    "compute.instances.attachDisk",
    "compute.instances.detachDisk",
    "compute.instances.get",
    "compute.instances.resume",
    "compute.instances.start",
    "compute.instances.stop",
    "compute.instances.suspend",
    "compute.instances.useReadOnly",
)
DISK_RIGHTS: Final = (
    "compute.disks.createSnapshot",
    "compute.disks.delete",
    "compute.disks.get",
    "compute.disks.use",
)
#: Google's limit for one disk
_MOST_INSTANTS: Final = 32
_QUOTAS: Final = ("SNAPSHOTS", "DISKS_TOTAL_GB", "SSD_TOTAL_GB")


def check_disk(job: GcpJob) -> Sequence[Finding]:
    """Return every finding about one disk; a check that could not be made is one, too."""
    return _made(job, {"rights": _disk_rights, "quota": _quotas})


def check_machine(job: GcpJob) -> Sequence[Finding]:
    """Return every finding about one machine; a check that could not be made is one, too."""
    return _made(job, {"rights": _machine_rights, "quota": _quotas, "machine": _machine})


def _made(job: GcpJob, checks: Mapping[str, Callable[[GcpJob], Iterator[Finding]]]) -> list[Finding]:
    findings: list[Finding] = []
    for name, check in checks.items():
        try:
            findings.extend(check(job))
        except ProviderError as error:
            findings.append(Finding(check=name, passed=False, detail=str(error), remedy=error.hint))
    return findings


def _disk_rights(job: GcpJob) -> Iterator[Finding]:
    yield _right(job, job.target, DISK_RIGHTS)


def _machine_rights(job: GcpJob) -> Iterator[Finding]:
    machine = job.compute.machine(job.target)
    yield _right(job, machine.reference, MACHINE_RIGHTS)
    for attachment in machine.persistent:
        if attachment.disk is not None:
            yield _right(job, attachment.disk, DISK_RIGHTS)


def _right(job: GcpJob, reference: Reference, wanted: Sequence[str]) -> Finding:
    missing = sorted(set(wanted) - job.compute.permitted(reference, wanted))
    return Finding(
        check="rights",
        passed=not missing,
        detail=f"{reference.path}: " + (f"not allowed: {', '.join(missing)}" if missing else "all rights"),
        remedy="Give the account the role Compute Instance Admin (v1)." if missing else "",
    )


def _quotas(job: GcpJob) -> Iterator[Finding]:
    reference = job.target
    region = region_of(reference.place) if reference.kind == "zones" else reference.place
    for quota in job.compute.quotas(reference.project, region):
        if quota.metric in _QUOTAS:
            left = quota.limit - quota.usage
            yield Finding(
                check="quota",
                passed=left >= 1,
                detail=f"{quota.metric}: {left:g} of {quota.limit:g} left",
                remedy=""
                if left >= 1
                else f"Ask Google for more {quota.metric}, or remove old restore points.",
            )


def _machine(job: GcpJob) -> Iterator[Finding]:
    machine = job.compute.machine(job.target)
    reasons = list(power.why_not_suspend(machine, discard_local_ssd=job.options.discard_local_ssd))
    yield Finding(
        check="suspend",
        passed=not reasons,
        detail="; ".join(reasons) or "it can be suspended",
        remedy="Put the suspend operations into the node's skip_actions." if reasons else "",
    )
    yield _flush(job, machine)
    yield from _instants(job, machine)
    yield from _images(job, machine)
    if machine.local_ssds:
        yield Finding(
            check="local-ssd",
            passed=False,
            detail=f"{machine.local_ssds} Local SSD cannot be snapshotted",
            remedy="Keep nothing on Local SSD that a restore needs.",
        )


def _instants(job: GcpJob, machine: GcpMachine) -> Iterator[Finding]:
    """Count each disk's instant snapshots, whoever made them."""
    disks = [attached.disk for attached in machine.persistent if attached.disk is not None]
    seen = [
        copy for at in {disk.beside(INSTANTS) for disk in disks} for copy in job.compute.copies(at).values()
    ]
    for disk in disks:
        count = sum(copy.source == disk for copy in seen)
        yield Finding(
            check="instant-snapshots",
            passed=count < _MOST_INSTANTS,
            detail=f"{disk.name} has {count} of {_MOST_INSTANTS} instant snapshots; one in 30 s is made",
            remedy=""
            if count < _MOST_INSTANTS
            else "Remove restore points, or standard ones are made instead.",
        )


def _images(job: GcpJob, machine: GcpMachine) -> Iterator[Finding]:
    under_key = [attached.device for attached in machine.persistent if attached.customer_key]
    if under_key:
        yield Finding(
            check="customer-key",
            passed=False,
            detail=f"only their customer has the key of {', '.join(under_key)}: no copy can be made",
            remedy="Move them to a key of Google's key service.",
        )
    if len(machine.persistent) > 1:
        group = _group(job, machine)
        yield Finding(
            check="machine-images",
            passed=True,
            detail=f"its disks are the consistency group {last_part(group)}: a snapshot is of one instant; a "
            "full copy is a machine image"
            if group
            else "of a machine with several disks, one machine image is made in 10 minutes, and six in an "
            "hour, at most; a freeze hook makes snapshots of the disks possible instead",
        )


def _group(job: GcpJob, machine: GcpMachine) -> str:
    """Return the consistency group that its disks are; empty also when this account may not read that."""
    try:
        return group_of(job, [one.disk for one in machine.persistent if one.disk is not None])
    except ProviderError:
        return ""


def _flush(job: GcpJob, machine: GcpMachine) -> Finding:
    if job.options.guest_flush and machine.status != RUNNING:
        return Finding(
            check="guest-flush",
            passed=False,
            detail=f"no guest can flush while the machine is {machine.status}",
            remedy="Start the machine, or unset guest_flush.",
        )
    if job.options.guest_flush:
        return Finding(
            check="guest-flush",
            passed=True,
            detail="asked for; it needs Google's guest agent with its snapshot hooks switched on, "
            "which the API does not show",
        )
    hook = job.frozen_by_hook
    return Finding(
        check="guest-flush",
        passed=True,
        detail="a hook of the blueprint freezes it"
        if hook
        else "nothing flushes the guest, so copies are worth what a power cut leaves; for more, set "
        "guest_flush, or bind a freeze hook to the node",
    )

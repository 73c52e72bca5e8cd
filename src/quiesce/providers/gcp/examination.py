"""What ``quiesce doctor`` finds out: rights, quotas, and what the platform would refuse."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Final

from quiesce.errors import ProviderError
from quiesce.ports import Finding
from quiesce.providers.gcp import power
from quiesce.providers.gcp.references import Reference, region_of
from quiesce.providers.gcp.resources import RUNNING, Machine
from quiesce.providers.gcp.target import Noun
from quiesce.providers.gcp.task import Task

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
_QUOTAS: Final = ("SNAPSHOTS", "DISKS_TOTAL_GB", "SSD_TOTAL_GB")


def examine(task: Task) -> Sequence[Finding]:
    """Return every finding about one machine or disk; a check that could not be made is one too."""
    checks: list[tuple[str, Callable[[Task], Iterator[Finding]]]] = [
        ("rights", _rights),
        ("quota", _quotas),
    ]
    if task.target.noun is Noun.MACHINE:
        checks.append(("machine", _machine))
    findings: list[Finding] = []
    for name, check in checks:
        try:
            findings.extend(check(task))
        except ProviderError as error:
            findings.append(Finding(check=name, passed=False, detail=str(error), remedy=error.hint))
    return findings


def _rights(task: Task) -> Iterator[Finding]:
    if task.target.noun is Noun.DISK:
        yield _right(task, task.target.reference, DISK_RIGHTS)
        return
    machine = task.compute.machine(task.target.reference)
    yield _right(task, machine.reference, MACHINE_RIGHTS)
    for attachment in machine.persistent:
        if attachment.disk is not None:
            yield _right(task, attachment.disk, DISK_RIGHTS)


def _right(task: Task, reference: Reference, wanted: Sequence[str]) -> Finding:
    missing = sorted(set(wanted) - task.compute.permitted(reference, wanted))
    return Finding(
        check="rights",
        passed=not missing,
        detail=f"{reference.path}: " + (f"not allowed: {', '.join(missing)}" if missing else "all rights"),
        remedy="Give the account the role Compute Instance Admin (v1)." if missing else "",
    )


def _quotas(task: Task) -> Iterator[Finding]:
    reference = task.target.reference
    region = region_of(reference.place) if reference.kind == "zones" else reference.place
    for quota in task.compute.quotas(reference.project, region):
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


def _machine(task: Task) -> Iterator[Finding]:
    machine = task.compute.machine(task.target.reference)
    reasons = list(power.why_not_suspend(machine, discard_local_ssd=task.options.discard_local_ssd))
    yield Finding(
        check="suspend",
        passed=not reasons,
        detail="; ".join(reasons) or "it can be suspended",
        remedy="Put the suspend operations into the node's skip_actions." if reasons else "",
    )
    yield _flush(task, machine)
    if machine.local_ssds:
        yield Finding(
            check="local-ssd",
            passed=False,
            detail=f"{machine.local_ssds} Local SSD cannot be snapshotted",
            remedy="Keep nothing on Local SSD that a restore needs.",
        )


def _flush(task: Task, machine: Machine) -> Finding:
    if task.options.guest_flush and machine.status != RUNNING:
        return Finding(
            check="guest-flush",
            passed=False,
            detail=f"no guest can flush while the machine is {machine.status}",
            remedy="Start the machine, or unset guest_flush.",
        )
    if task.options.guest_flush:
        return Finding(
            check="guest-flush",
            passed=True,
            detail="asked for; it needs Google's guest agent with its snapshot hooks switched on, "
            "which the API does not show",
        )
    hook = task.options.frozen_by_hook
    return Finding(
        check="guest-flush",
        passed=True,
        detail="a hook of the blueprint freezes it"
        if hook
        else "nothing flushes the guest, so copies are worth what a power cut leaves; for more, set "
        "guest_flush, or bind a freeze hook to the node",
    )

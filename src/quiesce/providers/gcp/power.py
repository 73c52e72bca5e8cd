"""SUSPEND and RESUME, and stopping and starting for a restore."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from quiesce.errors import NonRecoverableError, UnsupportedError
from quiesce.model.outcome import Outcome
from quiesce.provider_kit.machine_probing import MachineProbe, SeenMachine, probe_machine
from quiesce.providers.gcp.client import Compute
from quiesce.providers.gcp.job import GcpJob
from quiesce.providers.gcp.references import Reference
from quiesce.providers.gcp.resources import RUNNING, STOPPED, SUSPENDED, GcpMachine

_SETTLED: Final = frozenset({RUNNING, SUSPENDED, STOPPED, "STOPPED"})
_SSD_HINT = "Set discard_local_ssd to true (its data is lost) or to false (it is preserved, slowly)."


def suspend(compute: Compute, reference: Reference, *, discard_local_ssd: bool | None) -> None:
    """Suspend a machine; one that is suspended already is fine.

    Raises:
        UnsupportedError: when Compute Engine would refuse; nothing was changed.
    """
    machine = settled(compute, reference)
    if machine.status == SUSPENDED:
        return
    for reason in why_not_suspend(machine, discard_local_ssd=discard_local_ssd):
        raise UnsupportedError(f"{machine.reference.name} cannot be suspended: {reason}")
    compute.wait(compute.act(reference, "suspend", **_ssd(machine, discard_local_ssd)))
    _expect(compute, reference, SUSPENDED)


def resume(compute: Compute, reference: Reference) -> None:
    """Let a suspended machine go on; one that runs already is fine."""
    machine = settled(compute, reference)
    if machine.status == RUNNING:
        return
    if machine.status != SUSPENDED:
        raise NonRecoverableError(
            f"{reference.name} cannot be resumed: it is {machine.status}, so its memory is gone",
            hint="Compute Engine stops a machine that was suspended for 60 days. Start it instead.",
        )
    compute.wait(compute.act(reference, "resume"))
    _expect(compute, reference, RUNNING)


def stop(compute: Compute, reference: Reference, *, discard_local_ssd: bool | None) -> None:
    """Stop a machine; one that is stopped already is fine."""
    machine = settled(compute, reference)
    if is_stopped(machine):
        return
    if machine.local_ssds and discard_local_ssd is None:
        raise UnsupportedError(f"{reference.name} has Local SSD and cannot just be stopped", hint=_SSD_HINT)
    compute.wait(compute.act(reference, "stop", **_ssd(machine, discard_local_ssd)))


def start(compute: Compute, reference: Reference) -> None:
    """Start a stopped machine; one that runs already is fine."""
    if settled(compute, reference).status == RUNNING:
        return
    compute.wait(compute.act(reference, "start"))
    _expect(compute, reference, RUNNING)


def probe(job: GcpJob, reference: Reference) -> Outcome:
    """See whether a restored machine runs; Compute Engine can ask nobody in it."""

    def look() -> SeenMachine:
        machine = settled(job.compute, reference)
        return SeenMachine(name=reference.name, running=machine.status == RUNNING, state=machine.status)

    return probe_machine(job, MachineProbe(platform="Compute Engine", look=look))


def is_stopped(machine: GcpMachine) -> bool:
    """Tell whether a machine is powered off, with no memory kept."""
    return machine.status in (STOPPED, "STOPPED")


def is_at_rest(machine: GcpMachine) -> bool:
    """Tell whether nothing can write to a machine's disks."""
    return is_stopped(machine) or machine.status == SUSPENDED


def why_not_suspend(machine: GcpMachine, *, discard_local_ssd: bool | None) -> Iterator[str]:
    """Yield each limit of the platform that forbids to suspend *machine* now."""
    if machine.status != RUNNING:
        yield f"it is {machine.status}, not {RUNNING}"
    if machine.gpus:
        yield f"it has {machine.gpus} GPU"
    if machine.confidential:
        yield "it is a Confidential VM"
    if machine.local_ssds and discard_local_ssd is None:
        yield f"it has {machine.local_ssds} Local SSD, and nobody said what becomes of them. {_SSD_HINT}"
    for attachment in machine.attachments:
        if attachment.customer_key:
            yield f"its disk {attachment.device} is encrypted with a key that only the customer has"


def settled(compute: Compute, reference: Reference) -> GcpMachine:
    """Return a machine once it is not on its way from one state to another."""

    def look() -> GcpMachine | None:
        machine = compute.machine(reference)
        return machine if machine.status in _SETTLED else None

    return compute.deadline.until(look, longest_s=2.0)


def _expect(compute: Compute, reference: Reference, status: str) -> None:
    found = settled(compute, reference).status
    if found != status:
        raise NonRecoverableError(f"{reference.name} should be {status} now, but it is {found}")


def _ssd(machine: GcpMachine, discard_local_ssd: bool | None) -> dict[str, object]:
    return {"discard_local_ssd": discard_local_ssd} if machine.local_ssds else {}

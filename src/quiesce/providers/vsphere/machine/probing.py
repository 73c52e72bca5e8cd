"""Whether a restored machine is on, and VMware Tools run in it where they are installed."""

from __future__ import annotations

from quiesce.errors import ResourceNotFoundError
from quiesce.model.outcome import Outcome
from quiesce.provider_kit.machine_probing import MachineProbe, SeenMachine, probe_machine
from quiesce.providers.vsphere.inventory import PowerState, VirtualMachine
from quiesce.providers.vsphere.job import VSphereJob
from quiesce.providers.vsphere.options import PowerAfter


def probe(job: VSphereJob) -> Outcome:
    """Ask until it is on and its Tools run; where there are none, nothing in it is asked."""
    machine = _restored(job)
    wanted = job.options.probe_agent
    # Tools that have to answer may be seen only when they have started
    asks = machine.tools_installed or wanted

    def now() -> VirtualMachine:
        return job.vcenter.machine(machine.id, job.time)

    return probe_machine(
        job,
        MachineProbe(
            platform="vSphere",
            look=lambda: _seen(now()),
            should_run=_should_run(job),
            ask=(lambda: _why_silent(now())) if asks else None,
            asked="VMware Tools in it",
            wanted=wanted,
        ),
    )


def _restored(job: VSphereJob) -> VirtualMachine:
    name = job.options.restore_to
    if not name or not job.call.full:
        return job.machine()
    for found in job.machines_named(name):
        return found
    raise ResourceNotFoundError(f"there is no machine {name!r}, as which it was restored")


def _seen(machine: VirtualMachine) -> SeenMachine:
    return SeenMachine(name=machine.name, running=machine.power is PowerState.ON, state=str(machine.power))


def _why_silent(machine: VirtualMachine) -> str:
    return "" if machine.tools_running else "they do not run"


def _should_run(job: VSphereJob) -> bool | None:
    """Return how the restore was to leave it; None: that is not known."""
    if job.options.power_after is not PowerAfter.AS_AT_CUT:
        return job.options.power_after is PowerAfter.ON
    if job.options.restore_to and job.call.full:
        return False  # it is left off: the present one may run with its addresses
    artifact = job.call.artifact or {}
    cut = artifact.get("cut") if job.call.full else artifact
    power = cut.get("power") if isinstance(cut, dict) else None
    return None if power is None else power == PowerState.ON.value

"""Whether a restored domain runs, and its guest agent answers where there is a channel to it."""

from __future__ import annotations

from quiesce.errors import ProviderError
from quiesce.model.outcome import Outcome
from quiesce.provider_kit.machine_probing import MachineProbe, SeenMachine, probe_machine
from quiesce.providers.libvirt.client import Domain, DomainState
from quiesce.providers.libvirt.domain import overlays
from quiesce.providers.libvirt.domain.agent import QUESTION_S
from quiesce.providers.libvirt.domain.domain_xml import read_definition
from quiesce.providers.libvirt.job import LibvirtJob

_STUCK = "QEMU has paused it, because a disk could not be written; make room, then: virsh resume"


def probe(job: LibvirtJob) -> Outcome:
    """Ask until it runs and answers; a channel without an agent behind it is no failure by itself."""
    domain = _restored(job)
    has_channel = read_definition(domain.xml()).has_agent_channel
    return probe_machine(
        job,
        MachineProbe(
            platform="libvirt",
            look=lambda: _seen(domain),
            should_run=_ran_at_cut(job, domain),
            ask=(lambda: _why_silent(domain)) if has_channel else None,
            asked="its guest agent",
            wanted=job.options.probe_agent,
        ),
    )


def _restored(job: LibvirtJob) -> Domain:
    wanted = job.new_name
    return job.hypervisor.domain(wanted) if wanted and job.call.full else job.domain()


def _seen(domain: Domain) -> SeenMachine:
    state = domain.state()
    return SeenMachine(
        name=domain.name,
        running=state is DomainState.RUNNING,
        state=state.value,
        broken=_STUCK if state is DomainState.STUCK else "",
    )


def _ran_at_cut(job: LibvirtJob, domain: Domain) -> bool | None:
    if job.call.point is None:
        return None
    if not job.call.full:
        return overlays.ran_at_cut(job, domain)
    active = (job.call.artifact or {}).get("active")
    return active if isinstance(active, bool) else None


def _why_silent(domain: Domain) -> str:
    try:
        domain.agent("guest-ping", limit_s=QUESTION_S)
    except ProviderError as error:
        return str(error)
    return ""

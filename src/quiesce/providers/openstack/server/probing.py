"""Whether a restored server is active; Nova cannot ask anybody in it."""

from __future__ import annotations

from quiesce.model.outcome import Outcome
from quiesce.provider_kit.machine_probing import MachineProbe, SeenMachine, probe_machine
from quiesce.providers.openstack import power
from quiesce.providers.openstack.job import OpenStackJob
from quiesce.providers.openstack.locating import server_of


def probe(job: OpenStackJob) -> Outcome:
    """See whether it is active, once nothing is under way on it."""
    return probe_machine(job, MachineProbe(platform="Nova", look=lambda: _seen(job)))


def _seen(job: OpenStackJob) -> SeenMachine:
    server = power.settled(job, server_of(job).id)
    failed = server.status == power.ERROR
    return SeenMachine(
        name=server.name,
        running=server.status == power.ACTIVE,
        state=server.status,
        broken=(server.fault or "Nova does not say why") if failed else "",
    )

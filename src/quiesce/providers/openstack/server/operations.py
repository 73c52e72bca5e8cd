"""What is done to a node that is a server."""

from __future__ import annotations

from collections.abc import Sequence

from quiesce.errors import ResourceNotFoundError
from quiesce.model.outcome import NOTHING, Outcome
from quiesce.model.restore_point import Proof
from quiesce.ports import Finding
from quiesce.provider_kit.dispatch import CheckedOperations, unsupported
from quiesce.providers.openstack import doctor, power
from quiesce.providers.openstack.job import OpenStackJob
from quiesce.providers.openstack.locating import server_of
from quiesce.providers.openstack.quiesced_servers import NOT_THERE, go_on
from quiesce.providers.openstack.removal import remove
from quiesce.providers.openstack.resources import Server
from quiesce.providers.openstack.server.copy import copy
from quiesce.providers.openstack.server.cut import cut
from quiesce.providers.openstack.server.freeze import freeze, thaw
from quiesce.providers.openstack.server.probing import probe
from quiesce.providers.openstack.server.restore import apply
from quiesce.providers.openstack.server.statistics import measure
from quiesce.providers.openstack.server.verify import verify


class ServerOperations(CheckedOperations[OpenStackJob]):
    """One server with the attached volumes that have no node of their own."""

    revert = confirm = extract = unsupported
    prepare = stop = unsupported

    def freeze(self, job: OpenStackJob, /) -> Outcome:
        """Find out whether the cut will be frozen by Nova, provably."""
        return freeze(job)

    def thaw(self, job: OpenStackJob, /) -> Outcome:
        """Return when Nova is past the moment in which it holds the guest frozen."""
        return thaw(job)

    def suspend(self, job: OpenStackJob, /) -> Outcome:
        """Stop the processors; what is paused or shut off has none running already."""
        server = _settled(job)
        if server.status == power.STOPPED:
            return Outcome(note=f"server {server.name} is shut off; there is nothing to suspend")
        if server.status not in (power.PAUSED, power.SUSPENDED):
            power.bring(job, server.id, power.SUSPENDED)
        return NOTHING

    def resume(self, job: OpenStackJob, /) -> Outcome:
        """Let the processors go on; a server that somebody has shut off stays so."""
        server = _settled(job)
        if server.status == power.STOPPED:
            return Outcome(note=f"server {server.name} is shut off, not suspended; it was left so")
        if server.status != power.ACTIVE:
            power.bring(job, server.id, power.ACTIVE)
        return NOTHING

    def snapshot(self, job: OpenStackJob, /) -> Outcome:
        """Fix the point in time of the root disk and of the attached volumes that have no node."""
        return cut(job)

    def copy(self, job: OpenStackJob, /) -> Outcome:
        """Wait until the image is complete; turn snapshots into backups when a full copy is asked for."""
        return copy(job)

    def apply(self, job: OpenStackJob, /) -> Outcome:
        """Put the root disk back, and the volumes that the cut took along."""
        return apply(job)

    def start(self, job: OpenStackJob, /) -> Outcome:
        """Attach what a restore that died has detached; start it when that has stopped it."""
        try:
            return go_on(job, server_of(job).id)
        except ResourceNotFoundError:
            return NOT_THERE

    def probe(self, job: OpenStackJob, /) -> Outcome:
        """See whether it is active."""
        return probe(job)

    def delete(self, job: OpenStackJob, /) -> Outcome:
        """Remove images, and everything of the volumes that the server's step took along."""
        remove(job)
        return NOTHING

    def measure(self, job: OpenStackJob, /) -> Outcome:
        """Return what Nova tells."""
        return measure(job)

    def doctor(self, job: OpenStackJob, /) -> Sequence[Finding]:
        """Check rights, quotas and the guest agent."""
        return list(doctor.check_server(job))

    def verify(self, job: OpenStackJob, /) -> Proof:
        """Read the image and compare its checksum; ask Cinder about snapshots and backups."""
        return verify(job)


def _settled(job: OpenStackJob) -> Server:
    server = server_of(job)
    return server if server.task_state is None else power.settled(job, server.id)

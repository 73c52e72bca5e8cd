"""What is done to a node that is a volume."""

from __future__ import annotations

from collections.abc import Sequence

from quiesce.errors import ResourceNotFoundError
from quiesce.model.operation import Operation
from quiesce.model.outcome import NOTHING, Outcome
from quiesce.model.restore_point import Proof
from quiesce.model.target import NO_OBJECTION, RestoreTarget
from quiesce.ports import Finding
from quiesce.provider_kit.artifact import artifact_of, read_artifact
from quiesce.provider_kit.dispatch import CheckedOperations, unsupported
from quiesce.provider_kit.job import RuntimeState
from quiesce.provider_kit.saving import proof_of
from quiesce.providers.openstack import doctor
from quiesce.providers.openstack.job import OpenStackJob
from quiesce.providers.openstack.locating import known_id, volume_of
from quiesce.providers.openstack.quiesced_servers import NOT_THERE, attachment_of, go_on
from quiesce.providers.openstack.removal import remove
from quiesce.providers.openstack.resources import Volume
from quiesce.providers.openstack.root_disk import put_root_volume_back
from quiesce.providers.openstack.volume.content import VolumeContent, is_root_device
from quiesce.providers.openstack.volume.copy import copied
from quiesce.providers.openstack.volume.cut import await_cut, begin_cut, made_before
from quiesce.providers.openstack.volume.group import cut_with_others
from quiesce.providers.openstack.volume.restore import foreseen, not_kept, put_back, source_of, state_of


class VolumeOperations(CheckedOperations[OpenStackJob]):
    """One volume; it cannot be frozen by itself."""

    revert = confirm = extract = unsupported

    freeze = unsupported
    thaw = unsupported
    suspend = unsupported
    resume = unsupported
    prepare = stop = probe = unsupported

    def snapshot(self, job: OpenStackJob, /) -> Outcome:
        """Fix the point in time: a snapshot, in use or not."""
        with made_before(job) as asked:
            volume, made = _volume(job), asked()
        together = None if made.is_begun(job, volume) else cut_with_others(job, volume)
        if together is not None:
            return together
        content = begin_cut(job, volume, made)
        await_cut(job, content)
        return content.outcome()

    def copy(self, job: OpenStackJob, /) -> Outcome:
        """Turn the snapshot into a backup, when a full copy is asked for."""
        content = _content(job)
        if job.call.full:
            (content,) = copied(job, [content])
            job.context.progress(content.size_bytes, content.size_bytes)
        return content.outcome()

    def apply(self, job: OpenStackJob, /) -> Outcome:
        """Put the volume back; when another volume takes its place, remember that one's id."""
        content = _content(job)
        source = source_of(job, content)
        volume = volume_of(job)
        server_id = _booted_from(job, volume)
        if volume is not None and server_id is not None:
            put_root_volume_back(job, server_id, volume, source)
            return NOTHING
        new_id = put_back(job, volume, content, source)
        if volume is not None and new_id == volume.id:
            return NOTHING
        RuntimeState(job).write(id=new_id, external_id=new_id)
        lost = "; ".join(not_kept(content, gone=volume is None))
        return Outcome(note=f"volume {new_id} has taken the place of {source.volume_id}; not kept: {lost}")

    def start(self, job: OpenStackJob, /) -> Outcome:
        """Attach it where a restore that died has detached it; start the server when that has stopped it."""
        volume = volume_of(job)
        if volume is None or len(volume.attachments) > 1:  # of several servers, none was stopped
            return NOTHING
        place = attachment_of(volume)
        try:
            return NOTHING if place is None else go_on(job, place.server_id)
        except ResourceNotFoundError:
            return NOT_THERE

    def delete(self, job: OpenStackJob, /) -> Outcome:
        """Remove snapshots and backups of the volume, made for this point only."""
        remove(job)
        return NOTHING

    def measure(self, job: OpenStackJob, /) -> Outcome:
        """Return size and state."""
        volume = _volume(job)
        return Outcome(
            measurements={
                "status": volume.status,
                "size_bytes": volume.size_gib << 30,
                "attachments": len(volume.attachments),
                "type": volume.type,
            }
        )

    def doctor(self, job: OpenStackJob, /) -> Sequence[Finding]:
        """Check rights, quotas, and which snapshots can be reverted to."""
        return list(doctor.check_volume(job))

    def inspect_target(self, job: OpenStackJob, /) -> RestoreTarget:
        """Tell what a volume that takes the place of this one will not have of it."""
        if job.call.operation is not Operation.APPLY or job.call.artifact is None:
            return NO_OBJECTION
        return RestoreTarget(lost=foreseen(job, volume_of(job), _content(job)))

    def verify(self, job: OpenStackJob, /) -> Proof:
        """Ask Cinder about the snapshot or backup."""
        content = _content(job)
        return proof_of("presence", lambda: state_of(source_of(job, content)))


def _content(job: OpenStackJob) -> VolumeContent:
    return read_artifact(VolumeContent, artifact_of(job.call))


def _volume(job: OpenStackJob) -> Volume:
    volume = volume_of(job)
    if volume is None:
        raise ResourceNotFoundError(f"volume {known_id(job.call) or job.call.instance} is not there")
    return volume


def _booted_from(job: OpenStackJob, volume: Volume | None) -> str | None:
    """Return the server that boots from *volume*, if any."""
    place = attachment_of(volume) if volume is not None else None
    if volume is None or place is None or not is_root_device(place.device, volume):
        return None
    server = job.cloud.server(place.server_id)
    return server.id if server is not None and server.boots_from_volume else None

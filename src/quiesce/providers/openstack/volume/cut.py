"""The cut through one volume: a snapshot, in use or not."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace

from quiesce.errors import RecoverableError
from quiesce.providers.openstack import ownership
from quiesce.providers.openstack.job import OpenStackJob
from quiesce.providers.openstack.resources import Volume, VolumeBackup, VolumeSnapshot
from quiesce.providers.openstack.volume.content import VolumeContent


@dataclass(frozen=True, slots=True, kw_only=True)
class MadeBefore:
    """What had been made before a cut began, by whomever."""

    snapshots: Mapping[str, VolumeSnapshot]
    #: none when only snapshots are asked for
    backups: Mapping[str, VolumeBackup]

    def backups_of(self, job: OpenStackJob, volumes: Iterable[Volume]) -> list[VolumeBackup]:
        """Return those backups of *volumes* that this step has finished already."""
        names = [ownership.object_name(ownership.VOLUME, volume.id, job.call) for volume in volumes]
        own = [ownership.claimed(self.backups.values(), name, job.call) for name in names]
        return [backup for backup in own if backup is not None and backup.status == "available"]

    def is_begun(self, job: OpenStackJob, volume: Volume) -> bool:
        """Tell whether an earlier attempt has begun to cut *volume* alone, or has copied it already."""
        name = ownership.object_name(ownership.VOLUME, volume.id, job.call)
        snapshot = ownership.claimed(self.snapshots.values(), name, job.call)
        return snapshot is not None or bool(self.backups_of(job, [volume]))


@contextmanager
def made_before(job: OpenStackJob) -> Iterator[Callable[[], MadeBefore]]:
    """Ask what there is already, while other things are asked; what is given returns it."""
    with ExitStack() as asked:
        snapshots = asked.enter_context(job.connection.snapshots.ahead(job))
        backups: Callable[[], Mapping[str, VolumeBackup]] = dict
        if job.call.full:
            backups = asked.enter_context(job.connection.backups.ahead(job))
        yield lambda: MadeBefore(snapshots=snapshots(), backups=backups())


def content_of(volume: Volume) -> VolumeContent:
    """Return what is known of *volume* before anything was made of it."""
    device = volume.attachments[0].device if volume.attachments else None
    return VolumeContent(
        volume=volume.id,
        size_gib=volume.size_gib,
        name=volume.name,
        type=volume.type,
        zone=volume.zone,
        metadata=ownership.of_others(volume.metadata),
        group=volume.group_id,
        device=device,
    )


def begin_cut(job: OpenStackJob, volume: Volume, made: MadeBefore) -> VolumeContent:
    """Ask for a snapshot, unless this step has asked before (or has finished its backup already)."""
    name = ownership.object_name(ownership.VOLUME, volume.id, job.call)
    snapshot = _without_error(job, ownership.claimed(made.snapshots.values(), name, job.call))
    backup = ownership.claimed(made.backups.values(), name, job.call)
    if snapshot is None and backup is not None and backup.status == "available":
        return replace(content_of(volume), backup=backup.id)
    made_now = snapshot or job.cloud.create_snapshot(
        volume.id,
        name,
        ownership.mark_of(job.call, ownership.VOLUME, volume.id),
        description=job.call.parameters.snapshot_type,
    )
    return replace(content_of(volume), snapshot=made_now.id)


def await_cut(job: OpenStackJob, content: VolumeContent) -> None:
    """Return when the snapshot holds its point in time."""
    if content.snapshot is None:
        return
    what = f"snapshot {content.snapshot} of volume {content.volume}"

    def judge(found: VolumeSnapshot | None) -> VolumeSnapshot | None:
        if found is None:
            raise RecoverableError(f"{what} has vanished")
        if found.status.startswith("error"):
            raise RecoverableError(
                f"{what} ended as {found.status}",
                hint="Cinder's scheduler or volume service refused it; its log says why.",
            )
        return found if found.status == "available" else None

    job.connection.snapshots.until(content.snapshot, judge, job, what, urgent=True)


def remove_snapshot(job: OpenStackJob, snapshot_id: str) -> None:
    """Remove one of our snapshots and wait until it is gone."""
    job.cloud.delete_snapshot(snapshot_id)
    job.connection.snapshots.until_gone(snapshot_id, job)


def _without_error(job: OpenStackJob, snapshot: VolumeSnapshot | None) -> VolumeSnapshot | None:
    """Remove our own snapshot of an earlier attempt when it has failed."""
    if snapshot is None or not snapshot.status.startswith("error"):
        return snapshot
    remove_snapshot(job, snapshot.id)
    return None

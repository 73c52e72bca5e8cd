"""The copy of one volume: a backup of its snapshot, which is then removed."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from quiesce.errors import NonRecoverableError, RecoverableError, ResourceNotFoundError
from quiesce.providers.openstack import ownership
from quiesce.providers.openstack.job import OpenStackJob
from quiesce.providers.openstack.removal import let_go_of_group_snapshot
from quiesce.providers.openstack.resources import VolumeBackup
from quiesce.providers.openstack.volume.content import VolumeContent
from quiesce.providers.openstack.volume.cut import remove_snapshot


def copied(job: OpenStackJob, contents: Iterable[VolumeContent]) -> list[VolumeContent]:
    """Turn snapshots into backups; Cinder works on all of them at once."""
    begun = [(content, _begin_copy(job, content)) for content in contents]
    done = [_await_copy(job, content, backup_id) for content, backup_id in begun]
    for group_snapshot in {content.group_snapshot: None for content, _ in begun if content.group_snapshot}:
        let_go_of_group_snapshot(job, group_snapshot)
    return done


def _begin_copy(job: OpenStackJob, content: VolumeContent) -> str:
    """Ask for the backup, unless this step has asked before; return its id."""
    if content.backup is not None:
        return content.backup
    name = ownership.object_name(ownership.VOLUME, content.volume, job.call)
    own = ownership.claimed(job.connection.backups.listed(job).values(), name, job.call)
    if own is not None and own.status.startswith("error"):
        job.cloud.delete_backup(own.id)
        job.connection.backups.until_gone(own.id, job)
        own = None
    return own.id if own else _new_backup(job, content, name)


def _await_copy(job: OpenStackJob, content: VolumeContent, backup_id: str) -> VolumeContent:
    """Return the content as a backup alone, once that is complete."""
    what = f"backup {backup_id} of volume {content.volume}"

    def judge(found: VolumeBackup | None) -> VolumeBackup | None:
        if found is None:
            raise NonRecoverableError(f"{what} has vanished")
        if found.status.startswith("error"):
            raise RecoverableError(f"{what} failed: {found.fail_reason or found.status}")
        return found if found.status == "available" else None

    backup = job.connection.backups.until(backup_id, judge, job, what)
    if content.snapshot is not None and content.group_snapshot is None:
        remove_snapshot(job, content.snapshot)
    needed = backup.metadata.get(ownership.BUILDS_ON)
    copied_as = replace(content, snapshot=None, group_snapshot=None, backup=backup_id)
    return replace(copied_as, builds_on=(needed,) if needed else ())


def _new_backup(job: OpenStackJob, content: VolumeContent, name: str) -> str:
    if content.snapshot is None:
        raise NonRecoverableError(f"volume {content.volume} has no snapshot to copy from")
    parent = _parent(job, content.volume) if job.options.incremental_backup else None
    mark = ownership.mark_of(job.call, ownership.VOLUME, content.volume)
    try:
        return job.cloud.create_backup(
            content.volume,
            name,
            mark | _mark_of_parent(job, parent),
            snapshot_id=content.snapshot,
            description=job.call.parameters.snapshot_type,
            incremental=parent is not None,
        )
    except ResourceNotFoundError as error:
        raise NonRecoverableError(f"snapshot {content.snapshot} has vanished before it was copied") from error


def _parent(job: OpenStackJob, volume_id: str) -> VolumeBackup | None:
    """Return what an incremental backup would build on (Cinder takes the newest), when it is ours."""
    backups = job.connection.backups.listed(job).values()
    finished = [b for b in backups if b.volume_id == volume_id and b.status == "available"]
    newest = max(finished, key=lambda backup: backup.created_at, default=None)
    if newest is None or ownership.owner_of(newest) is not None:
        return newest
    job.warn(
        f"the newest backup of volume {volume_id} ({newest.name or newest.id}) is not quiesce's, "
        "so this backup is a full one"
    )
    return None


def _mark_of_parent(job: OpenStackJob, parent: VolumeBackup | None) -> dict[str, str]:
    owner = ownership.owner_of(parent) if parent is not None else None
    if owner is None or owner.deployment != job.call.deployment:
        return {}
    return {ownership.BUILDS_ON: owner.point}

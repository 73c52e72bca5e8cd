"""What directories and databases have in common when their restore points are removed and verified."""

from __future__ import annotations

import os

from quiesce.errors import DamagedArtifactError
from quiesce.files.durable import storage_errors
from quiesce.files.mounts import mount_of, read_mounts
from quiesce.model.ids import Json
from quiesce.model.outcome import Outcome
from quiesce.model.restore_point import Proof
from quiesce.provider_kit.dispatch import CheckedOperations
from quiesce.provider_kit.saving import proof_of
from quiesce.providers.host.counting import fingerprint_of
from quiesce.providers.host.former_states import CONTENT
from quiesce.providers.host.job import HostJob
from quiesce.providers.host.snapshot_dir import MOUNTED_AT, RAW, StoredCut


class StoredOperations(CheckedOperations[HostJob]):
    """A kind whose restore points are a snapshot beside its path, or a backup in a repository."""

    def delete(self, job: HostJob, /) -> Outcome:
        """Remove the call's snapshot and backup, finished or half-made, and nobody else's."""
        with storage_errors(f"remove {job.point} of {job.call.instance}"):
            notes = [job.snapshots.remove(job.call), job.saving.remove()]
        return Outcome(note="; ".join(note for note in notes if note))

    def verify(self, job: HostJob, /) -> Proof:
        """Check a backup against its checksums, or that all of a snapshot is there and nobody changed it."""
        if job.call.full:
            return job.saving.verify()
        with storage_errors(f"look at the snapshot {job.point} of {job.call.instance}"):
            return proof_of("presence", lambda: _looked_at(job))


def with_fingerprint(cut: StoredCut, directory: int) -> dict[str, Json]:
    """Return the facts of *cut*, whose *directory* is open, with what tells whether anybody changes it.

    They say where its file system is mounted, too.
    """
    mount = mount_of(directory, read_mounts())
    mounted = {MOUNTED_AT: os.fsdecode(mount.point)} if mount is not None else {}
    return {**cut.facts, **mounted, "fingerprint": _fingerprint(directory)}


def require_unchanged(cut: StoredCut, directory: int) -> None:
    """Raise unless everything of *cut*, whose *directory* is open, is as it was when it became durable.

    Raises:
        DamagedArtifactError: when something was changed, added or removed.
    """
    try:
        unchanged = cut.durable and _fingerprint(directory) == cut.facts.get("fingerprint")
    except FileNotFoundError:
        unchanged = False
    if not unchanged:
        raise DamagedArtifactError(f"{cut.content} is not what it was when it was made")


def _fingerprint(directory: int) -> str:
    """Return what changes as soon as anything does that a restore reads: the tree, and its index if any."""
    index = [RAW] if os.fsdecode(RAW) in os.listdir(directory) else []
    return "+".join(fingerprint_of(directory, name) for name in (CONTENT, *index))


def _looked_at(job: HostJob) -> str:
    cut = job.snapshots.find(job.call)
    with job.snapshots.opened(cut) as directory:
        require_unchanged(cut, directory)
    return "everything is there and unchanged; its content was not read"

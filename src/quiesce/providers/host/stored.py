"""What directories and databases have in common when their restore points are removed and verified."""

from __future__ import annotations

import os

from quiesce.errors import DamagedArtifactError, ResourceNotFoundError
from quiesce.files.durable import storage_errors
from quiesce.model.outcome import Outcome
from quiesce.model.restore_point import Proof
from quiesce.provider_kit.dispatch import CheckedOperations
from quiesce.provider_kit.saving import proof
from quiesce.providers.host.job import HostJob


class StoredOperations(CheckedOperations[HostJob]):
    """A kind whose restore points are a snapshot beside its path, or a backup in a repository."""

    def delete(self, job: HostJob, /) -> Outcome:
        """Remove the call's snapshot and backup, finished or half-made, and nobody else's."""
        with storage_errors(f"remove {job.point} of {job.call.instance}"):
            notes = [job.snapshots.remove(job.call), job.saving.remove()]
        return Outcome(note="; ".join(note for note in notes if note))

    def verify(self, job: HostJob, /) -> Proof:
        """Check a backup against its checksums, or that a snapshot is there and whole."""
        if job.call.full:
            return job.saving.verify()
        try:
            return proof("presence", damage=_absence(job))
        except (ResourceNotFoundError, DamagedArtifactError) as error:
            return proof("presence", damage=str(error))


def _absence(job: HostJob) -> str:
    cut = job.snapshots.find(job.call)
    return "" if cut.durable and os.path.lexists(cut.content) else f"{cut.content} is not whole"

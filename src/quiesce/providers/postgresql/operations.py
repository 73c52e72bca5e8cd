"""What can be done to a PostgreSQL server, a method for each operation."""

from __future__ import annotations

from collections.abc import Sequence

from quiesce.model.former_state import FormerState
from quiesce.model.outcome import NOTHING, Outcome
from quiesce.model.restore_point import Proof
from quiesce.model.target import RestoreTarget
from quiesce.ports import Finding
from quiesce.provider_kit.artifact import as_artifact
from quiesce.provider_kit.dispatch import CheckedOperations, unsupported
from quiesce.providers.postgresql import backup, doctor, restore
from quiesce.providers.postgresql.job import ServerJob


class PostgreSQLOperations(CheckedOperations[ServerJob]):
    """Answers for ``quiesce.nodes.postgresql.Server``.

    It has no freeze: the base copy is made before the window, the cut is a place in the log, read in it.
    """

    freeze = thaw = unsupported
    suspend = resume = unsupported
    extract = unsupported

    def prepare(self, job: ServerJob, /) -> Outcome:
        """Make the base copy, and have the server keep its log until the cut is stored."""
        backup.prepare(job)
        return NOTHING

    def snapshot(self, job: ServerJob, /) -> Outcome:
        """Read the place in the log that is the cut; nobody is held up."""
        if (made := job.saving.made_before()) is not None:
            return Outcome(artifact=made.content)
        artifact, ready = backup.cut(job)
        note = "" if ready else "nothing was prepared, so the base copy was made within the window"
        return Outcome(artifact=as_artifact(artifact), note=note)

    def copy(self, job: ServerJob, /) -> Outcome:
        """Add the log up to the cut."""
        return Outcome(artifact=backup.complete(job).content)

    def apply(self, job: ServerJob, /) -> Outcome:
        """Replace what is there; the next start recovers up to the cut."""
        return restore.apply(job)

    def delete(self, job: ServerJob, /) -> Outcome:
        """Remove the backup, or what was begun of it, and let the server's log go."""
        backup.let_go(job)
        return Outcome(note=job.saving.remove())

    def revert(self, job: ServerJob, /) -> Outcome:
        """Exchange what is there with what a restore has replaced."""
        return restore.revert(job)

    def confirm(self, job: ServerJob, /) -> Outcome:
        """Keep what a restore has replaced, or let it go."""
        return restore.confirm(job)

    def stop(self, job: ServerJob, /) -> Outcome:
        """Stop the server."""
        return restore.stop(job)

    def start(self, job: ServerJob, /) -> Outcome:
        """Start the server."""
        return restore.start(job)

    def probe(self, job: ServerJob, /) -> Outcome:
        """Return when it has recovered and can be read."""
        return restore.probe(job)

    def measure(self, job: ServerJob, /) -> Outcome:
        """Return sizes, sessions and transactions."""
        return Outcome(measurements=doctor.measure(job))

    def verify(self, job: ServerJob, /) -> Proof:
        """Read every byte of the backup and compare the checksums."""
        return job.saving.verify()

    def doctor(self, job: ServerJob, /) -> Sequence[Finding]:
        """Tell whether the server can be saved, and replaced."""
        return doctor.examine(job)

    def inspect_target(self, job: ServerJob, /) -> RestoreTarget:
        """Tell what stands in the way of replacing it."""
        return restore.inspect_target(job)

    def former_state(self, job: ServerJob, /) -> FormerState | None:
        """Tell what is kept."""
        return restore.former_state(job)

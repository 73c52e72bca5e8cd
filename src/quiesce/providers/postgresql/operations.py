"""What can be done to a PostgreSQL server, a method for each operation."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from quiesce.model.outcome import NOTHING, Outcome
from quiesce.model.target import RestoreTarget
from quiesce.ports import Finding
from quiesce.provider_kit import servers
from quiesce.provider_kit.artifact import as_artifact
from quiesce.provider_kit.dispatch import unsupported
from quiesce.provider_kit.local_servers import LocalServerOperations
from quiesce.providers.postgresql import backup, doctor, restore
from quiesce.providers.postgresql.job import PostgreSQLJob


class PostgreSQLOperations(LocalServerOperations[PostgreSQLJob]):
    """Answers for ``quiesce.nodes.postgresql.Server``.

    It has no freeze: the base copy is made before the window, the cut is a place in the log, read in it.
    """

    freeze = thaw = unsupported

    def places(self, job: PostgreSQLJob, /) -> Iterator[Path]:
        """Give the directories that a restore exchanges as one: those that others lead to last."""
        return restore.places(job)

    def prepare(self, job: PostgreSQLJob, /) -> Outcome:
        """Make the base copy, and have the server keep its log until the cut is stored."""
        self.let_go_of_expired(job)
        backup.prepare(job)
        return NOTHING

    def snapshot(self, job: PostgreSQLJob, /) -> Outcome:
        """Read the place in the log that is the cut; nobody is held up."""
        if (made := job.saving.made_before_cut()) is not None:
            return Outcome(artifact=made.content)
        artifact, ready = backup.cut(job)
        note = "" if ready else "nothing was prepared, so the base copy was made within the window"
        return Outcome(artifact=as_artifact(artifact), note=note)

    def copy(self, job: PostgreSQLJob, /) -> Outcome:
        """Add the log up to the cut."""
        return Outcome(artifact=backup.complete(job).content)

    def apply(self, job: PostgreSQLJob, /) -> Outcome:
        """Replace what is there; the next start recovers up to the cut."""
        return restore.apply(job)

    def delete(self, job: PostgreSQLJob, /) -> Outcome:
        """Remove the backup, or what was begun of it, and let the server's log go."""
        backup.let_go(job)
        return super().delete(job)

    def stop(self, job: PostgreSQLJob, /) -> Outcome:
        """Stop the server."""
        return restore.stop(job)

    def start(self, job: PostgreSQLJob, /) -> Outcome:
        """Start the server."""
        return restore.start(job)

    def probe(self, job: PostgreSQLJob, /) -> Outcome:
        """Return when it has recovered and can be read."""
        return restore.probe(job)

    def measure(self, job: PostgreSQLJob, /) -> Outcome:
        """Return sizes, sessions and transactions."""
        return Outcome(measurements=doctor.measure(job))

    def doctor(self, job: PostgreSQLJob, /) -> Sequence[Finding]:
        """Tell whether the server can be saved, and replaced."""
        return doctor.examine(job)

    def inspect_target(self, job: PostgreSQLJob, /) -> RestoreTarget:
        """Tell what stands in the way of replacing it."""
        return servers.inspect_target(restore.exchanged_whole(job))

"""What can be done to a MariaDB server, a method for each operation."""

from __future__ import annotations

from collections.abc import Sequence

from quiesce.model.outcome import NOTHING, Outcome
from quiesce.ports import Finding
from quiesce.provider_kit.artifact import as_artifact
from quiesce.provider_kit.held_servers import HeldServerOperations
from quiesce.providers.mariadb import backup, copying, doctor, restore
from quiesce.providers.mariadb.job import MariaDBJob


class MariaDBOperations(HeldServerOperations[MariaDBJob]):
    """Answers for ``quiesce.nodes.mariadb.Server``."""

    def prepare(self, job: MariaDBJob, /) -> Outcome:
        """Make the base copy, and have the process ready that will hold commits."""
        if job.options.hold:
            job.holders.be_ready()
        self.let_go_of_expired(job)
        if job.options.data_directory is not None:
            backup.prepare(job)
        return NOTHING

    def freeze(self, job: MariaDBJob, /) -> Outcome:
        """Hold all commits in a session that ends by itself."""
        return job.hold()

    def snapshot(self, job: MariaDBJob, /) -> Outcome:
        """End the copy, or copy what has changed since it was made; that end is the cut."""
        if (made := job.saving.made_before_cut()) is not None:
            return Outcome(artifact=made.content)
        held = job.is_held()
        artifact, ready = backup.cut(job, held=held)
        if held and not job.is_held():  # nothing kept what it has copied from being changed
            artifact, _ = backup.cut(job, held=False)
        note = "" if ready else "nothing was prepared, so the base copy was made within the window"
        return Outcome(artifact=as_artifact(artifact), note=note)

    def copy(self, job: MariaDBJob, /) -> Outcome:
        """Join the copies, and store them."""
        return Outcome(artifact=backup.complete(job).content)

    def apply(self, job: MariaDBJob, /) -> Outcome:
        """Replace what is there."""
        return restore.apply(job)

    def delete(self, job: MariaDBJob, /) -> Outcome:
        """Remove the backup, or what was begun of it."""
        copying.let_go(job)
        return super().delete(job)

    def revert(self, job: MariaDBJob, /) -> Outcome:
        """Exchange what is there with what a restore has replaced."""
        job.refuse_running()
        return super().revert(job)

    def stop(self, job: MariaDBJob, /) -> Outcome:
        """Stop the server."""
        return restore.stop(job)

    def start(self, job: MariaDBJob, /) -> Outcome:
        """Start the server."""
        return restore.start(job)

    def probe(self, job: MariaDBJob, /) -> Outcome:
        """Return when it answers and every table is whole."""
        return restore.probe(job)

    def measure(self, job: MariaDBJob, /) -> Outcome:
        """Return sizes, sessions and statements."""
        return Outcome(measurements=doctor.measure(job))

    def doctor(self, job: MariaDBJob, /) -> Sequence[Finding]:
        """Tell whether the server can be held, saved and replaced."""
        return doctor.examine(job)

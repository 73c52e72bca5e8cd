"""What can be done to a Redis server, a method for each operation."""

from __future__ import annotations

from collections.abc import Sequence

from quiesce.model.outcome import NOTHING, Outcome
from quiesce.ports import Finding
from quiesce.provider_kit.artifact import as_artifact
from quiesce.provider_kit.held_servers import HeldServerOperations
from quiesce.providers.redis import backup, doctor, restore
from quiesce.providers.redis.job import RedisJob


class RedisOperations(HeldServerOperations[RedisJob]):
    """Answers for ``quiesce.nodes.redis.Server``."""

    def prepare(self, job: RedisJob, /) -> Outcome:
        """Let saves and rewrites end, and have the process ready that will hold the pause."""
        self.let_go_of_expired(job)
        job.holders.be_ready()
        backup.prepare(job)
        return NOTHING

    def freeze(self, job: RedisJob, /) -> Outcome:
        """Hold all writes by a pause that ends by itself."""
        return job.hold(files_are_cut=job.options.data_directory is None)

    def thaw(self, job: RedisJob, /) -> Outcome:
        """Let writes go on, whoever holds them; of a holder that was killed, the pause is ended here."""
        if not job.let_go():
            backup.let_go_on(job)
        return NOTHING

    def snapshot(self, job: RedisJob, /) -> Outcome:
        """Have the server fork, which is the cut."""
        if (made := job.saving.made_before_cut()) is not None:
            return Outcome(artifact=made.content)
        job.saving.begin()
        return Outcome(artifact=as_artifact(backup.cut(job)))

    def copy(self, job: RedisJob, /) -> Outcome:
        """Copy what the server has written of the cut."""
        return Outcome(artifact=backup.complete(job).content)

    def apply(self, job: RedisJob, /) -> Outcome:
        """Replace what is there; the next start loads it."""
        return restore.apply(job)

    def revert(self, job: RedisJob, /) -> Outcome:
        """Exchange what is there with what a restore has replaced."""
        job.refuse_running()
        restore.let_go_of_expectation(job)
        return super().revert(job)

    def confirm(self, job: RedisJob, /) -> Outcome:
        """Keep what a restore has replaced, or let it go."""
        restore.let_go_of_expectation(job)
        return super().confirm(job)

    def stop(self, job: RedisJob, /) -> Outcome:
        """Stop the server."""
        return restore.stop(job)

    def start(self, job: RedisJob, /) -> Outcome:
        """Start the server."""
        return restore.start(job)

    def probe(self, job: RedisJob, /) -> Outcome:
        """Return when it has loaded everything and answers."""
        return restore.probe(job)

    def measure(self, job: RedisJob, /) -> Outcome:
        """Return keys, memory, clients and commands."""
        return Outcome(measurements=doctor.measure(job))

    def doctor(self, job: RedisJob, /) -> Sequence[Finding]:
        """Tell whether the server can be held, saved and replaced."""
        return doctor.examine(job)

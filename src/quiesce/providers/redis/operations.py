"""What can be done to a Redis server, a method for each operation."""

from __future__ import annotations

from collections.abc import Sequence

from quiesce.model.consistency import Consistency
from quiesce.model.former_state import FormerState
from quiesce.model.ids import Json
from quiesce.model.outcome import NOTHING, Outcome
from quiesce.model.restore_point import Proof
from quiesce.model.target import RestoreTarget
from quiesce.ports import Finding
from quiesce.provider_kit import servers
from quiesce.provider_kit.artifact import as_artifact
from quiesce.provider_kit.dispatch import CheckedOperations, unsupported
from quiesce.providers.redis import backup, doctor, restore
from quiesce.providers.redis.job import RedisJob


class RedisOperations(CheckedOperations[RedisJob]):
    """Answers for ``quiesce.nodes.redis.Server``."""

    suspend = resume = unsupported
    extract = unsupported

    def prepare(self, job: RedisJob, /) -> Outcome:
        """Let saves and rewrites end, and have the process ready that will hold the pause."""
        if job.options.data_directory is not None:
            servers.let_go_of_expired(job, restore.places(job))
        job.holders.be_ready()
        backup.prepare(job)
        return NOTHING

    def freeze(self, job: RedisJob, /) -> Outcome:
        """Hold all writes by a pause that ends by itself."""
        options, remaining_s = job.options, job.context.remaining_s()
        request: dict[str, Json] = {
            "login": {
                "host": options.host,
                "port": options.port,
                "user": options.user,
                "password": options.password,
            },
            "files_are_cut": options.data_directory is None,
            "patience_s": min(remaining_s, job.timer_s),
        }
        job.holders.hold(job.key, request, thaw_after_s=job.timer_s, timeout_s=remaining_s)
        return Outcome(consistency=Consistency.APPLICATION)

    def thaw(self, job: RedisJob, /) -> Outcome:
        """Let writes go on, whoever holds them; of a holder that was killed, the pause is ended here."""
        if not job.holders.release(job.key, timeout_s=job.context.remaining_s()):
            backup.let_go_on(job)
        return NOTHING

    def is_frozen(self, job: RedisJob, /) -> bool | None:
        """Tell whether the pause is still renewed."""
        return job.holders.held(job.key) is not None

    def snapshot(self, job: RedisJob, /) -> Outcome:
        """Have the server fork, which is the cut."""
        if (made := job.saving.made_before()) is not None:
            return Outcome(artifact=made.content)
        job.saving.begin()
        return Outcome(artifact=as_artifact(backup.cut(job)))

    def copy(self, job: RedisJob, /) -> Outcome:
        """Copy what the server has written of the cut."""
        return Outcome(artifact=backup.complete(job).content)

    def apply(self, job: RedisJob, /) -> Outcome:
        """Replace what is there; the next start loads it."""
        return restore.apply(job)

    def delete(self, job: RedisJob, /) -> Outcome:
        """Remove the backup, or what was begun of it."""
        return Outcome(note=job.saving.remove())

    def revert(self, job: RedisJob, /) -> Outcome:
        """Exchange what is there with what a restore has replaced."""
        restore.refuse_running(job)
        restore.let_go_of_expectation(job)
        return servers.revert(job, restore.places(job))

    def confirm(self, job: RedisJob, /) -> Outcome:
        """Keep what a restore has replaced, or let it go."""
        restore.let_go_of_expectation(job)
        return servers.confirm(job, restore.places(job))

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

    def verify(self, job: RedisJob, /) -> Proof:
        """Read every byte of the backup and compare the checksums."""
        return job.saving.verify()

    def doctor(self, job: RedisJob, /) -> Sequence[Finding]:
        """Tell whether the server can be held, saved and replaced."""
        return doctor.examine(job)

    def inspect_target(self, job: RedisJob, /) -> RestoreTarget:
        """Tell what stands in the way of replacing it."""
        return servers.inspect_target(restore.places(job))

    def former_state(self, job: RedisJob, /) -> FormerState | None:
        """Tell what is kept."""
        return servers.former_state(job)

"""What can be done to a MariaDB server, a method for each operation."""

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
from quiesce.providers.mariadb import backup, doctor, restore
from quiesce.providers.mariadb.job import MariaDBJob


class MariaDBOperations(CheckedOperations[MariaDBJob]):
    """Answers for ``quiesce.nodes.mariadb.Server``."""

    suspend = resume = unsupported
    extract = unsupported

    def prepare(self, job: MariaDBJob, /) -> Outcome:
        """Make the base copy, and have the process ready that will hold commits."""
        if job.options.hold:
            job.holders.be_ready()
        if job.options.data_directory is not None:
            servers.let_go_of_expired(job, restore.places(job))
            backup.prepare(job)
        return NOTHING

    def freeze(self, job: MariaDBJob, /) -> Outcome:
        """Hold all commits in a session that ends by itself."""
        options, remaining_s = job.options, job.context.remaining_s()
        request: dict[str, Json] = {
            "login": {
                "host": options.host,
                "port": options.port,
                "user": options.user,
                "password": options.password,
            },
            "patience_s": min(remaining_s, job.timer_s),
        }
        job.holders.hold(job.key, request, thaw_after_s=job.timer_s, timeout_s=remaining_s)
        return Outcome(consistency=Consistency.APPLICATION)

    def thaw(self, job: MariaDBJob, /) -> Outcome:
        """Let commits go on, whoever holds them; when the session ends, the server lets them go."""
        job.holders.release(job.key, timeout_s=job.context.remaining_s())
        return NOTHING

    def is_frozen(self, job: MariaDBJob, /) -> bool | None:
        """Tell whether the session is still there."""
        return job.holders.held(job.key) is not None

    def snapshot(self, job: MariaDBJob, /) -> Outcome:
        """Copy what has changed since the base copy; the cut is its end."""
        if (made := job.saving.made_before()) is not None:
            return Outcome(artifact=made.content)
        held = job.holders.held(job.key) is not None
        artifact, ready = backup.cut(job, held=held)
        if held and job.holders.held(job.key) is None:  # nothing kept what it has copied from being changed
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
        return Outcome(note=job.saving.remove())

    def revert(self, job: MariaDBJob, /) -> Outcome:
        """Exchange what is there with what a restore has replaced."""
        restore.refuse_running(job)
        return servers.revert(job, restore.places(job))

    def confirm(self, job: MariaDBJob, /) -> Outcome:
        """Keep what a restore has replaced, or let it go."""
        return servers.confirm(job, restore.places(job))

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

    def verify(self, job: MariaDBJob, /) -> Proof:
        """Read every byte of the backup and compare the checksums."""
        return job.saving.verify()

    def doctor(self, job: MariaDBJob, /) -> Sequence[Finding]:
        """Tell whether the server can be held, saved and replaced."""
        return doctor.examine(job)

    def inspect_target(self, job: MariaDBJob, /) -> RestoreTarget:
        """Tell what stands in the way of replacing it."""
        return servers.inspect_target(restore.places(job))

    def former_state(self, job: MariaDBJob, /) -> FormerState | None:
        """Tell what is kept."""
        return servers.former_state(job)

"""A server is stopped with all it holds saved, replaced, started, and asked what it has loaded."""

from __future__ import annotations

import contextlib
import json
from typing import Any, Final

from quiesce.errors import NonRecoverableError, ProviderError, RecoverableError
from quiesce.model.outcome import NOTHING, Outcome
from quiesce.provider_kit import servers
from quiesce.provider_kit.artifact import read_artifact
from quiesce.provider_kit.saving import watched
from quiesce.providers.redis.backup import DUMP, RedisArtifact
from quiesce.providers.redis.client import RedisSession, is_there, keys_in
from quiesce.providers.redis.job import RedisJob

#: how it was started
_STARTED: Final = "started"
#: within what time of its save it has to be stopped, in seconds
_STOP_S: Final = 30.0
#: what it has to load
_RESTORED: Final = "restored"


def stop(job: RedisJob) -> Outcome:
    """Stop the server, everything saved: what it holds now is what a restore can be undone to."""
    if job.options.data_directory is None:
        servers.by_systemd(job, "stop")
        return NOTHING
    if job.processes():
        _save_and_stop(job)
    elif job.options.systemd_unit is None:
        return Outcome(note="it was not running")
    else:
        servers.by_systemd(job, "stop")
    job.wait_until(lambda: not job.processes(), "stop")
    return NOTHING


def start(job: RedisJob) -> Outcome:
    """Start the server as it was started before, and return when it answers or loads."""
    if job.options.systemd_unit is not None:
        servers.by_systemd(job, "start")
        return NOTHING
    if not job.processes():
        _start_as_before(job)
    job.wait_until(lambda: _answers(job), "answer")
    return NOTHING


def apply(job: RedisJob) -> Outcome:
    """Build a directory with the restored state beside the present one, and exchange the two."""
    manifest = job.saving.manifest()
    artifact = read_artifact(RedisArtifact, manifest.content)
    data = job.data_directory
    job.refuse_running()
    _require_same_kind(job, artifact)
    places = [str(data)]
    job.ask("begin", places=places)
    with job.saving.repository.open(manifest, DUMP, watched(job.context, manifest.size_bytes)) as stored:
        job.ask("receive", data=stored, place=str(data), name=_name_in_use(job, artifact))
        stored.check()
    job.ask("settle_on_disk", places=places)
    servers.replace(job, places, job.refuse_running)
    job.remember(_RESTORED, json.dumps({"keys": artifact.keys}))
    return NOTHING


def probe(job: RedisJob) -> Outcome:
    """Return when the server has loaded everything that was restored, and answers.

    Raises:
        ProbeFailedError: when it does not within the call's time, with the last reason.
    """
    servers.wait_until_well(job, lambda: _why_not_well(job))
    return NOTHING


def let_go_of_expectation(job: RedisJob) -> None:
    """Expect nothing any more: what is there from now on may have been changed."""
    job.remember(_RESTORED, "{}")


def why_not_started(facts: Any) -> str:
    """Return why a server could not be started again; empty when it can."""
    return "" if facts.config_file else "it was started without a configuration file, so not as it is now"


def _start_as_before(job: RedisJob) -> None:
    before = json.loads(job.recall(_STARTED) or "{}")
    if not before.get("config_file"):
        raise NonRecoverableError(
            f"nothing says how {job.call.instance} is started", hint="Set its systemd_unit."
        )
    argv = [before["executable"], before["config_file"], "--daemonize", "yes"]
    argv += ["--dir", str(job.data_directory)]  # it may be relative there
    said = job.commands.run_as(job, job.owner.of_process(), argv)
    if said.status != 0:
        raise RecoverableError(f"{job.call.instance} was not started: {said}")
    job.wait_until(lambda: bool(job.processes()), "start")


def _answers(job: RedisJob) -> bool:
    if is_there(job.options, timeout_s=job.context.remaining_s()):
        return True
    if not job.processes():
        raise RecoverableError(f"{job.call.instance} has ended again: {job.commands.said_by(job)}")
    return False


def _save_and_stop(job: RedisJob) -> None:
    with job.session() as session:
        facts = session.facts()
        job.require_usable(facts)
        if why := why_not_started(facts) if job.options.systemd_unit is None else "":
            raise NonRecoverableError(
                f"{job.call.instance} could not be started again: {why}", hint="Set its systemd_unit."
            )
        started = {"executable": facts.executable, "config_file": facts.config_file}
        told = {**started, "name": facts.name, "appends": facts.appends, "append_name": facts.append_name}
        job.remember(_STARTED, json.dumps({**told, "dump_name": facts.dump_name}))
        if job.options.systemd_unit is None:
            session.shut_down(saving=not facts.appends)
        elif facts.appends:
            servers.by_systemd(job, "stop")
        else:
            _save_and_stop_by_systemd(job, session)


def _save_and_stop_by_systemd(job: RedisJob, session: RedisSession) -> None:
    """Have nothing written between the save and the stop; what is not stopped goes on."""
    try:
        session.save_and_pause(_STOP_S)
        servers.by_systemd(job, "stop")
    except BaseException:
        with contextlib.suppress(ProviderError):
            session.unpause()
        raise


def _require_same_kind(job: RedisJob, artifact: RedisArtifact) -> None:
    """Raise when the server would not read the dump: newer ones of Valkey have a format of their own."""
    there = json.loads(job.recall(_STARTED) or "{}").get("name", artifact.name)
    if there != artifact.name:
        raise NonRecoverableError(
            f"{job.call.instance} is {there}, the restore point is of {artifact.name}",
            hint="Restore it to a server of its own kind.",
        )


def _name_in_use(job: RedisJob, artifact: RedisArtifact) -> str:
    """Return the name of the file that the server reads when it starts.

    A dump is a whole append-only file, too: a server that keeps a directory of such files takes it over.
    """
    told = json.loads(job.recall(_STARTED) or "{}")
    appends = told.get("appends", artifact.appends)
    name = told.get("append_name", artifact.append_name) if appends else told.get("dump_name")
    return str(name or artifact.dump_name)


def _why_not_well(job: RedisJob) -> str | None:
    with job.session() as session:
        about = session.info("persistence")
        if about.get("loading"):
            return f"it still loads ({about.get('loading_loaded_perc', '0')} %)"
        return _why_not_all(job, session) or _why_not_answering(job, session)


def _why_not_all(job: RedisJob, session: RedisSession) -> str | None:
    wanted = json.loads(job.recall(_RESTORED) or "{}").get("keys")
    if not wanted:
        return None
    about = session.info("persistence")
    loaded, expired = about.get("rdb_last_load_keys_loaded"), about.get("rdb_last_load_keys_expired")
    if loaded is not None and loaded + expired != wanted:
        return f"it has loaded {loaded} keys, {expired} had expired, and {wanted} were saved"
    if loaded is None and not keys_in(session.info("keyspace")):
        return f"it holds no key, and {wanted} were saved"
    return None


def _why_not_answering(job: RedisJob, session: RedisSession) -> str | None:
    if job.options.probe is None:
        return None
    return None if session.command(job.options.probe) else f"{job.options.probe!r} answers nothing"

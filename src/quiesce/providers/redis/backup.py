"""A server's backup: its state of the instant in which it forked, which it writes itself."""

from __future__ import annotations

import io
import os
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from quiesce.backups import Draft, Manifest
from quiesce.errors import NonRecoverableError, NoRoomError, ProviderError
from quiesce.files.durable import storage_errors
from quiesce.files.reading import open_regular_file
from quiesce.model.consistency import Consistency
from quiesce.provider_kit.artifact import artifact_of, as_artifact, read_artifact
from quiesce.provider_kit.saving import watched
from quiesce.providers.redis.client import RedisFacts, RedisSession
from quiesce.providers.redis.holder import LEASE_S
from quiesce.providers.redis.job import RedisJob

DUMP: Final = "dump.rdb"
#: of Redis, and of Valkey 9
_MAGIC: Final = (b"REDIS", b"VALKEY")
#: before the checksum of eight bytes, at the end of every dump
_END: Final = 0xFF
_CHECKSUM_BYTES: Final = 8
#: where a dump says when it was begun: a short text, then its value
_CTIME: Final = b"\x05ctime"
#: says that an integer of 32 bits follows; else the length of a text
_INTEGER: Final = b"\xc2"
_HEAD_BYTES: Final = 1024
_CHUNK_BYTES: Final = 1 << 20


@dataclass(frozen=True, slots=True, kw_only=True)
class RedisArtifact:
    """What a restore point holds of a server."""

    name: str
    version: str
    #: None: they were being changed
    keys: int | None
    #: the server's clock when it forked, in seconds
    forked_at: int
    #: how many saves it had made then; None: it does not count them (before 7.0)
    saves: int | None
    #: of the start since which it counts
    run_id: str
    directory: str
    dump_name: str
    append_name: str
    #: whether it read its append-only file when it started, and not its dump
    appends: bool


def prepare(job: RedisJob) -> None:
    """Let what rewrites the files come to its end, before anybody waits for it."""
    with job.session() as session:
        facts = session.facts()
        job.require_usable(facts)
        if job.options.data_directory is not None:
            _require_own(job, facts)
            _require_room(job, session)
        job.wait_until(lambda: not _is_busy(session), "end its saves and rewrites")


def let_go_on(job: RedisJob) -> None:
    """End a pause that nobody renews; a server that cannot be asked ends it by itself."""
    try:
        with job.session() as session:
            session.unpause()
    except ProviderError:
        job.deadline("the pause to end").pause(LEASE_S)


def cut(job: RedisJob) -> RedisArtifact:
    """Have the server fork: what it writes from then on is its state of that instant."""
    with job.session() as session:
        facts = session.facts()
        job.require_usable(facts)
        _require_own(job, facts)
        _require_room(job, session)
        job.wait_until(lambda: not _is_busy(session), "end its saves and rewrites")
        saves, run_id = session.info("persistence").get("rdb_saves"), session.run_id()
        keys, forked_at = session.fork_to_save()
    return RedisArtifact(
        name=facts.name,
        version=".".join(map(str, facts.version)),
        keys=keys,
        forked_at=forked_at,
        saves=saves,
        run_id=run_id,
        directory=facts.directory,
        dump_name=facts.dump_name,
        append_name=facts.append_name,
        appends=facts.appends,
    )


def complete(job: RedisJob) -> Manifest:
    """Copy what the server has written, and complete the backup.

    Raises:
        NonRecoverableError: when the server could not write it, or has saved again since.
    """
    if (made := job.saving.made_before()) is not None:
        return made
    artifact = read_artifact(RedisArtifact, artifact_of(job.call))
    draft = job.saving.begin()
    if DUMP not in draft.finished:
        _copy_dump(job, draft, artifact)
    return job.saving.complete(
        draft, as_artifact(artifact), consistency=Consistency.APPLICATION, cut_at=float(artifact.forked_at)
    )


def _copy_dump(job: RedisJob, draft: Draft, artifact: RedisArtifact) -> None:
    with job.session() as session:
        job.wait_until(
            lambda: not session.info("persistence").get("rdb_bgsave_in_progress"), "write its state"
        )
        with storage_errors(f"read what {job.call.instance} has written"):
            file = _open_dump(job, artifact)
        with file:
            _require_ours(job, session, artifact, file)
            told = watched(job.context, os.fstat(file.fileno()).st_size)
            with draft.create(DUMP, told) as out:
                shutil.copyfileobj(file, out, _CHUNK_BYTES)


def _open_dump(job: RedisJob, artifact: RedisArtifact) -> io.FileIO:
    """Open the server's own file: the name is what it says, and its user may have put another one there."""
    if "/" in artifact.dump_name:
        raise NonRecoverableError(f"{artifact.dump_name!r} is no name of a file")
    file = open_regular_file(job.data_directory / artifact.dump_name)
    owner = os.fstat(file.fileno()).st_uid
    if owner != job.owner.user:
        file.close()
        raise NonRecoverableError(f"{artifact.dump_name} of {job.call.instance} belongs to user {owner}")
    return file


def _require_ours(job: RedisJob, session: RedisSession, artifact: RedisArtifact, file: io.FileIO) -> None:
    """Raise unless the open *file* is what the server has written of the cut, whole."""
    if session.run_id() != artifact.run_id:
        raise _lost(job, "was started anew")
    about = session.info("persistence")
    if about.get("rdb_last_bgsave_status") != "ok":
        raise NonRecoverableError(
            f"{job.call.instance} could not write its state", hint="See its log; its disk may be full."
        )
    if about.get("rdb_bgsave_in_progress") or not _is_next_save(about, artifact, _begun_at(file)):
        raise _lost(job, "has saved again")


def _is_next_save(about: Mapping[str, Any], artifact: RedisArtifact, begun_at: int) -> bool:
    """Tell whether a dump that was begun then, by the server's clock, is the first one after *artifact*.

    What a child that has forked may wait before it begins to write has no bound. And it asks time(2), which
    may still tell the second before: it goes on with the kernel's tick only.
    """
    late_s = begun_at - artifact.forked_at
    if artifact.saves is None:
        return late_s in (-1, 0, 1)
    return late_s >= -1 and about.get("rdb_saves") == artifact.saves + 1


def _lost(job: RedisJob, why: str) -> NonRecoverableError:
    return NonRecoverableError(
        f"{job.call.instance} {why} before its state of the cut was copied", hint="Run the backup again."
    )


def _begun_at(file: io.FileIO) -> int:
    """Return when a dump was begun; -1 when it is none, or not whole."""
    size = os.fstat(file.fileno()).st_size
    head = os.pread(file.fileno(), _HEAD_BYTES, 0)
    end = os.pread(file.fileno(), 1, max(0, size - _CHECKSUM_BYTES - 1))
    _, found, rest = head.partition(_CTIME)
    if not head.startswith(_MAGIC) or end != bytes([_END]) or not found:
        return -1
    if rest[:1] == _INTEGER:
        return int.from_bytes(rest[1:5], "little")
    digits = rest[1 : 1 + rest[0]] if rest else b""
    return int(digits) if digits.isdigit() else -1


def _is_busy(session: RedisSession) -> bool:
    about = session.info("persistence")
    return any(about.get(name) for name in ("rdb_bgsave_in_progress", "aof_rewrite_in_progress"))


def _require_own(job: RedisJob, facts: RedisFacts) -> None:
    if Path(os.path.realpath(facts.directory)) != job.data_directory:
        raise NonRecoverableError(
            f"the files of {job.call.instance} are in {facts.directory}, not in {job.data_directory}",
            hint="Correct the node's data_directory.",
        )


def _require_room(job: RedisJob, session: RedisSession) -> None:
    """Raise when a save may not fit: after one that failed, a server refuses all writes."""
    needed = int(session.info("memory").get("used_memory_dataset", 0))
    with storage_errors(f"look at {job.data_directory}"):
        free = shutil.disk_usage(job.data_directory).free
    if free < needed:
        raise NoRoomError(
            f"to save, {job.call.instance} may need {needed} bytes in {job.data_directory}; {free} are free"
        )

"""A process with its descendants as a node: suspended and resumed, or paused around the cut."""

from __future__ import annotations

import json
import os
import re
import stat
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from quiesce.errors import NonRecoverableError, ResourceNotFoundError, UntrustedPathError
from quiesce.files.descriptors import READING
from quiesce.files.durable import make_private_directory, storage_errors, write_durably
from quiesce.files.trust import open_declared
from quiesce.model.consistency import Consistency
from quiesce.model.ids import Json
from quiesce.model.outcome import NOTHING, Outcome
from quiesce.ports import Finding
from quiesce.provider_kit.commands import NodeCommands
from quiesce.provider_kit.dispatch import CheckedOperations, nothing_stored, unsupported
from quiesce.providers.host import processes, restarting
from quiesce.providers.host.job import HostJob
from quiesce.providers.host.probing import wait_for_answer
from quiesce.providers.host.processes import Member, Stat

_SAMPLE_S: Final = 0.2
#: a daemon may write its pid file a little before it forks for the last time
_PID_FILE_SLACK_S: Final = 2.0
_LONGEST_PID_FILE: Final = 4096


class ProcessOperations(CheckedOperations[HostJob]):
    """Answers for ``quiesce.nodes.host.Process``."""

    revert = confirm = extract = unsupported

    prepare = freeze = thaw = unsupported
    snapshot = copy = apply = delete = unsupported
    verify = nothing_stored

    def __init__(self, directory: Path, commands: NodeCommands) -> None:
        """*directory* keeps what was suspended."""
        self._directory = directory
        self._commands = commands

    def suspend(self, job: HostJob, /) -> Outcome:
        """Stop every process of the group; returns when all have stopped."""
        count = processes.stop(
            lambda: self._members(job), lambda fresh: self._remember(job, fresh), job.context.remaining_s()
        )
        job.say(f"{count} processes are stopped")
        return NOTHING

    def resume(self, job: HostJob, /) -> Outcome:
        """Let every process go on that is there now or was stopped by us."""
        members = {*self._remembered(job), *self._present(job)}
        processes.let_go_on(members, job.context.remaining_s())
        with storage_errors("forget what was suspended"):
            self._record(job).unlink(missing_ok=True)
        return NOTHING

    def stop(self, job: HostJob, /) -> Outcome:
        """Stop it by its command, by systemd or by SIGTERM; returns when every process is gone."""
        if not _can_be_started(job):
            return Outcome(note="it is left running: nothing says how it is started")
        return restarting.stop(job, self._commands, lambda: self._found(job))

    def start(self, job: HostJob, /) -> Outcome:
        """Start it by its command or by systemd; returns when it is there."""
        return restarting.start(job, self._commands, lambda: self._found(job))

    def probe(self, job: HostJob, /) -> Outcome:
        """Ask until it answers."""
        if job.options.probe is not None:
            wait_for_answer(job, self._commands, job.options.probe)
        return NOTHING

    def ended_by_stop(self, job: HostJob) -> list[int]:
        """Return the processes that a stop would end."""
        return [stat.member.pid for stat in self._found(job)] if _can_be_started(job) else []

    def measure(self, job: HostJob, /) -> Outcome:
        """Return processor, memory, threads, open files and bytes read and written."""
        before, began = self._members(job), time.monotonic()
        time.sleep(min(_SAMPLE_S, job.context.remaining_s()))
        after, ended = self._members(job), time.monotonic()
        used = {stat.member: stat.cpu_ticks for stat in before}
        ticks = sum(stat.cpu_ticks - used.get(stat.member, 0) for stat in after)
        figures: dict[str, Json] = {
            "processes": len(after),
            "cpu_percent": round(100 * ticks / processes.TICKS_PER_S / (ended - began), 1),
            "memory_bytes": sum(stat.memory_bytes for stat in after),
            "threads": sum(stat.threads for stat in after),
            "stopped": len(processes.stopped_members(stat.member for stat in after)),
        }
        return Outcome(measurements=figures | _open_files(after) | _io(after))

    def doctor(self, job: HostJob, /) -> Sequence[Finding]:
        """Tell whether the processes are there and may be stopped, and what a restore does with them."""
        return [self._presence(job), _restart(job)]

    def _presence(self, job: HostJob) -> Finding:
        try:
            members = self._members(job)
        except (ResourceNotFoundError, NonRecoverableError) as error:
            return Finding(check="process", passed=False, detail=str(error), remedy=error.hint or "Start it.")
        names = ", ".join(f"{stat.member.pid}" for stat in members[:10])
        return Finding(check="process", passed=True, detail=f"{len(members)} processes: {names}")

    def _members(self, job: HostJob) -> list[Stat]:
        every = processes.every_process()
        found = processes.with_descendants(self._leaders(job, every), every, job.options.scope)
        if ours := processes.ourselves(every) & {stat.member.pid for stat in found}:
            raise NonRecoverableError(
                f"{job.call.instance} includes process {min(ours)}, which runs quiesce itself",
                hint="Name the processes more narrowly.",
            )
        return found

    def _leaders(self, job: HostJob, every: dict[int, Stat]) -> list[Stat]:
        options = job.options
        if options.systemd_unit is None or any((options.pid_file, options.pid, options.command)):
            return _leaders(job, every)
        pid = restarting.main_process(job, self._commands, options.systemd_unit)
        if pid not in every:
            raise ResourceNotFoundError(f"{options.systemd_unit} does not run")
        return [every[pid]]

    def _present(self, job: HostJob) -> list[Member]:
        return [stat.member for stat in self._found(job)]

    def _found(self, job: HostJob) -> list[Stat]:
        try:
            return self._members(job)
        except ResourceNotFoundError:
            return []

    def _record(self, job: HostJob) -> Path:
        return self._directory / f"{job.key}.json"

    def _remember(self, job: HostJob, fresh: list[Member]) -> None:
        known = sorted({*self._remembered(job), *fresh})
        with storage_errors("remember what is suspended"):
            make_private_directory(self._directory)
            data = json.dumps({"members": [[member.pid, member.started] for member in known]})
            write_durably(self._record(job), data.encode())

    def _remembered(self, job: HostJob) -> list[Member]:
        with storage_errors("read what is suspended"):
            try:
                return _members_in(json.loads(self._record(job).read_bytes()))
            except FileNotFoundError:
                return []


class PausedProcessOperations(ProcessOperations):
    """Answers for ``quiesce.nodes.host.PausedProcess``."""

    def freeze(self, job: HostJob, /) -> Outcome:
        """Stop every process of the group that is not suspended already, its timer armed first."""
        if job.call.restoring and not self._present(job):
            return Outcome(consistency=Consistency.NONE, note="there is no process to be stopped")
        if not self._present(job):
            self._hold_nothing(job)
            return Outcome(
                consistency=Consistency.CRASH,
                note="none of its processes runs, so none has to be stopped",
            )
        suspended = set(processes.stopped_members(self._remembered(job)))
        self._hold_nothing(job)
        processes.stop(
            lambda: [stat for stat in self._members(job) if stat.member not in suspended],
            lambda fresh: job.freezes.extend(
                job.key,
                {"members": [[member.pid, member.started] for member in fresh]},
                timeout_s=job.context.remaining_s(),
            ),
            job.context.remaining_s(),
        )
        return Outcome(
            consistency=Consistency.CRASH,
            note="the processes are stopped; what they had not written yet is not there",
        )

    def thaw(self, job: HostJob, /) -> Outcome:
        """Let go on what the freeze has stopped, whoever froze it."""
        held = job.freezes.held(job.key) or {}
        left = job.freezes.release(job.key, timeout_s=job.context.remaining_s()) or {}
        processes.let_go_on({*_members_in(held), *_members_in(left)}, job.context.remaining_s())
        return NOTHING

    def is_frozen(self, job: HostJob, /) -> bool | None:
        """Tell whether what the freeze has stopped is still stopped; a restore may have found nothing."""
        held = job.freezes.held(job.key)
        if held is None:
            return None if job.call.restoring else False
        # without any, none ran at the freeze, or all were suspended: one that runs now was started since
        members = _members_in(held) or ([] if job.call.restoring else self._present(job))
        return all(processes.is_stopped(member) for member in members)

    def _hold_nothing(self, job: HostJob) -> None:
        job.freezes.hold(
            job.key,
            {"kind": "processes", "members": []},
            thaw_after_s=job.timer_s,
            timeout_s=job.context.remaining_s(),
        )


def _restart(job: HostJob) -> Finding:
    options = job.options
    problem = remedy = ""
    if options.stop is not None and options.start is None:
        problem, remedy = "stop is set and start is not, so a restore leaves it running", "Set start, too."
    elif options.start is not None and not (options.pid_file or options.command or options.systemd_unit):
        problem = "a restore could not find it once it is started: pid names the process that runs now"
        remedy = "Set pid_file, command or systemd_unit."
    done = (
        "is stopped and started around a restore" if _can_be_started(job) else "is left running by a restore"
    )
    return Finding(check="restart", passed=not problem, detail=problem or f"it {done}", remedy=remedy)


def _can_be_started(job: HostJob) -> bool:
    return job.options.start is not None or job.options.systemd_unit is not None


def _leaders(job: HostJob, every: dict[int, Stat]) -> list[Stat]:
    options = job.options
    noted = None if options.pid_file is None else _pid_file(job, options.pid_file)
    named = options.pid if noted is None else noted.pid
    if named is None and options.command is None:
        raise NonRecoverableError(
            f"{job.call.instance} does not say which process it stands for",
            hint="Set one of its properties pid_file, pid, command and systemd_unit.",
        )
    candidates = every.values() if named is None else [every[named]] if named in every else []
    leaders = [stat for stat in candidates if _fits(job, stat, noted)]
    if not leaders:
        raise ResourceNotFoundError(f"no process of {job.call.instance} runs{_sought(job)}")
    if noted is not None:
        _require_same_owner(job, noted, leaders)
    return leaders


@dataclass(frozen=True, slots=True, kw_only=True)
class PidFile:
    """What a file says about a process, and who says it."""

    path: Path
    pid: int
    written_at: float
    owner: int


def _pid_file(job: HostJob, path: Path) -> PidFile:
    try:
        with open_declared(path) as declared:
            descriptor = os.open(declared.name, READING | os.O_NOFOLLOW, dir_fd=declared.parent)
    except (FileNotFoundError, ResourceNotFoundError) as error:
        raise ResourceNotFoundError(f"no process of {job.call.instance} runs: there is no {path}") from error
    except OSError as error:
        raise NonRecoverableError(f"{path} cannot be read: {error.strerror}") from error
    try:
        status = os.fstat(descriptor)
        # a pipe or a device is no file to read from
        data = os.read(descriptor, _LONGEST_PID_FILE) if stat.S_ISREG(status.st_mode) else b""
    finally:
        os.close(descriptor)
    if status.st_mode & (stat.S_IWGRP | stat.S_IWOTH) or status.st_nlink > 1:
        raise UntrustedPathError(
            f"{path} is not believed: others could have written it",
            hint="Take the write permission of others away (chmod go-w).",
        )
    try:
        pid = int(data.split()[0])
    except (ValueError, IndexError) as error:
        raise NonRecoverableError(f"{path} does not hold a process number") from error
    return PidFile(path=path, pid=pid, written_at=status.st_mtime, owner=status.st_uid)


def _require_same_owner(job: HostJob, noted: PidFile, leaders: list[Stat]) -> None:
    """Raise when whoever wrote the file may not stop the process himself: he could name any."""
    if noted.owner in {0, os.geteuid()}:
        return
    for leader in leaders:
        owner = processes.owner_of(leader.member.pid)
        if owner != noted.owner:
            raise UntrustedPathError(
                f"{noted.path} belongs to user {noted.owner} and names process {leader.member.pid} "
                f"of user {owner}: {job.call.instance} was left alone",
                hint="Let the file belong to root, or to the user that the process runs as.",
            )


def _fits(job: HostJob, stat: Stat, noted: PidFile | None) -> bool:
    pattern = job.options.command
    if pattern is None:
        return noted is None or processes.started_at(stat) <= noted.written_at + _PID_FILE_SLACK_S
    try:
        return re.search(pattern, processes.command_line(stat.member.pid)) is not None
    except re.error as error:
        raise NonRecoverableError(f"{pattern!r} is no regular expression: {error}") from error


def _sought(job: HostJob) -> str:
    options = job.options
    sought = {"pid_file": options.pid_file, "pid": options.pid, "command": options.command}
    shown = [f"{name} {str(value)!r}" for name, value in sought.items() if value is not None]
    return f" ({', '.join(shown)})"


def _members_in(body: object) -> list[Member]:
    members = body.get("members") if isinstance(body, dict) else None
    listed = members if isinstance(members, list) else []
    return [Member(pid=pid, started=started) for pid, started in listed]


def _open_files(stats: list[Stat]) -> dict[str, Json]:
    try:
        return {"open_files": sum(len(list(Path(f"/proc/{stat.member.pid}/fd").iterdir())) for stat in stats)}
    except OSError:
        return {}


def _io(stats: list[Stat]) -> dict[str, Json]:
    totals = {"read_bytes": 0, "write_bytes": 0}
    try:
        for stat in stats:
            lines = Path(f"/proc/{stat.member.pid}/io").read_text().splitlines()
            for name, _, figure in (line.partition(":") for line in lines):
                if name in totals:
                    totals[name] += int(figure)
    except OSError:
        return {}
    return {"read_bytes": totals["read_bytes"], "written_bytes": totals["write_bytes"]}

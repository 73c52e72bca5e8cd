"""A process with its descendants as a node: suspended and resumed, or paused around the cut."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from quiesce.errors import NonRecoverableError, ResourceNotFoundError
from quiesce.model.call import Call
from quiesce.model.consistency import Consistency
from quiesce.model.ids import Json
from quiesce.model.outcome import NOTHING, Outcome
from quiesce.model.records import Level
from quiesce.ports import Context, Finding
from quiesce.providers.host import processes
from quiesce.providers.host.holders import Holders
from quiesce.providers.host.processes import Member, Stat
from quiesce.providers.host.properties import absolute, key_of, text_of, value_of
from quiesce.repository import make_private_directory, storage_errors, write_durably

_SCOPES: Final = ("tree", "group", "session")
_SAMPLE_S: Final = 0.2
#: a daemon may write its pid file a little before it forks for the last time
_PID_FILE_SLACK_S: Final = 2.0
_DEFAULT_TIMER_S: Final = 120.0


class ProcessNode:
    """Performs the operations of ``quiesce.nodes.host.Process`` and ``PausedProcess``."""

    def __init__(self, holders: Holders, directory: Path) -> None:
        self._holders = holders
        self._directory = directory

    def suspend(self, call: Call, context: Context) -> Outcome:
        """Stop every process of the group; returns when all have stopped."""
        count = processes.stop(
            lambda: self._members(call), lambda fresh: self._remember(call, fresh), context.remaining_s()
        )
        context.log(Level.INFO, f"{count} processes are stopped")
        return NOTHING

    def resume(self, call: Call, context: Context) -> Outcome:
        """Let every process go on that is there now or was stopped by us."""
        members = {*self._remembered(call), *self._present(call)}
        processes.let_go_on(members, context.remaining_s())
        with storage_errors("forget what was suspended"):
            self._record(call).unlink(missing_ok=True)
        return NOTHING

    def freeze(self, call: Call, context: Context) -> Outcome:
        """Stop every process of the group that is not suspended already, its timer armed first."""
        if call.workflow == "restore" and not self._present(call):
            return Outcome(consistency=Consistency.NONE, note="there is no process to be stopped")
        suspended = set(processes.stopped_members(self._remembered(call)))
        self._holders.hold(
            key_of(call),
            {"kind": "processes", "members": []},
            thaw_after_s=call.thaw_after_s or _DEFAULT_TIMER_S,
            timeout_s=context.remaining_s(),
        )
        processes.stop(
            lambda: [stat for stat in self._members(call) if stat.member not in suspended],
            lambda fresh: self._holders.extend(
                key_of(call),
                {"members": [[member.pid, member.started] for member in fresh]},
                timeout_s=context.remaining_s(),
            ),
            context.remaining_s(),
        )
        return Outcome(
            consistency=Consistency.CRASH,
            note="the processes are stopped; what they had not written yet is not there",
        )

    def thaw(self, call: Call, context: Context) -> Outcome:
        """Let go on what the freeze has stopped, whoever froze it."""
        held = self._holders.held(key_of(call)) or {}
        left = self._holders.release(key_of(call), timeout_s=context.remaining_s()) or {}
        processes.let_go_on({*_members_in(held), *_members_in(left)}, context.remaining_s())
        return NOTHING

    def is_frozen(self, call: Call) -> bool | None:
        """Tell whether what the freeze has stopped is still stopped; a restore may have found nothing."""
        held = self._holders.held(key_of(call))
        if held is None:
            return None if call.workflow == "restore" else False
        return all(processes.is_stopped(member) for member in _members_in(held))

    def measure(self, call: Call, context: Context) -> Outcome:
        """Return processor, memory, threads, open files and bytes read and written."""
        before, began = self._members(call), time.monotonic()
        time.sleep(min(_SAMPLE_S, context.remaining_s()))
        after, ended = self._members(call), time.monotonic()
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

    def examine(self, call: Call) -> Sequence[Finding]:
        """Tell whether the processes are there and may be stopped."""
        try:
            members = self._members(call)
        except (ResourceNotFoundError, NonRecoverableError) as error:
            return [
                Finding(check="process", passed=False, detail=str(error), remedy=error.hint or "Start it.")
            ]
        names = ", ".join(f"{stat.member.pid}" for stat in members[:10])
        return [Finding(check="process", passed=True, detail=f"{len(members)} processes: {names}")]

    def _members(self, call: Call) -> list[Stat]:
        every = processes.every_process()
        found = processes.with_descendants(_leaders(call, every), every, _scope(call))
        if ours := processes.ourselves(every) & {stat.member.pid for stat in found}:
            raise NonRecoverableError(
                f"{call.instance} includes process {min(ours)}, which runs quiesce itself",
                hint="Name the processes more narrowly.",
            )
        return found

    def _present(self, call: Call) -> list[Member]:
        try:
            return [stat.member for stat in self._members(call)]
        except ResourceNotFoundError:
            return []

    def _record(self, call: Call) -> Path:
        return self._directory / f"{key_of(call)}.json"

    def _remember(self, call: Call, fresh: list[Member]) -> None:
        known = sorted({*self._remembered(call), *fresh})
        with storage_errors("remember what is suspended"):
            make_private_directory(self._directory)
            data = json.dumps({"members": [[member.pid, member.started] for member in known]})
            write_durably(self._record(call), data.encode())

    def _remembered(self, call: Call) -> list[Member]:
        with storage_errors("read what is suspended"):
            try:
                return _members_in(json.loads(self._record(call).read_bytes()))
            except FileNotFoundError:
                return []


def _leaders(call: Call, every: dict[int, Stat]) -> list[Stat]:
    pattern = text_of(call, "command")
    pid = _named_pid(call)
    if pid is None and pattern is None:
        raise NonRecoverableError(
            f"{call.instance} does not say which process it stands for",
            hint="Set one of its properties pid_file, pid and command.",
        )
    candidates = every.values() if pid is None else [every[pid]] if pid in every else []
    leaders = [stat for stat in candidates if _fits(call, stat, pattern)]
    if not leaders:
        raise ResourceNotFoundError(f"no process of {call.instance} runs{_sought(call)}")
    return leaders


def _named_pid(call: Call) -> int | None:
    pid_file = text_of(call, "pid_file")
    if pid_file is None:
        pid = value_of(call, "pid")
        return None if pid is None else int(str(pid))
    path = absolute(pid_file, f"the pid_file of {call.instance}")
    try:
        return int(path.read_text().split()[0])
    except FileNotFoundError as error:
        raise ResourceNotFoundError(f"no process of {call.instance} runs: there is no {path}") from error
    except (ValueError, IndexError) as error:
        raise NonRecoverableError(f"{path} does not hold a process number") from error


def _fits(call: Call, stat: Stat, pattern: str | None) -> bool:
    if pattern is None:
        pid_file = text_of(call, "pid_file")
        return pid_file is None or _is_older(stat, Path(pid_file).expanduser())
    try:
        return re.search(pattern, processes.command_line(stat.member.pid)) is not None
    except re.error as error:
        raise NonRecoverableError(f"{pattern!r} is no regular expression: {error}") from error


def _is_older(stat: Stat, pid_file: Path) -> bool:
    return processes.started_at(stat) <= pid_file.stat().st_mtime + _PID_FILE_SLACK_S


def _sought(call: Call) -> str:
    sought = [f"{name} {text!r}" for name in ("pid_file", "pid", "command") if (text := text_of(call, name))]
    return f" ({', '.join(sought)})"


def _scope(call: Call) -> str:
    scope = text_of(call, "scope") or "tree"
    if scope not in _SCOPES:
        raise NonRecoverableError(f"scope {scope!r} of {call.instance} is none of {', '.join(_SCOPES)}")
    return scope


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

"""Answers the provider port for one Linux machine."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Final, TypeAlias

from quiesce.errors import UnsupportedError
from quiesce.model.call import Call
from quiesce.model.operation import Operation
from quiesce.model.outcome import Outcome
from quiesce.model.restore_point import Proof
from quiesce.ports import Context, Finding, ProviderSettings
from quiesce.providers.host import (
    DIRECTORY,
    FILE_SYSTEM,
    PAUSED_PROCESS,
    PROCESS,
    SQLITE,
    SQLITE_ALONE,
    saving,
)
from quiesce.providers.host.database import DatabaseNode
from quiesce.providers.host.directory import DirectoryNode
from quiesce.providers.host.filesystem import FileSystemNode
from quiesce.providers.host.holders import Holders
from quiesce.providers.host.process import ProcessNode

Performer: TypeAlias = Callable[[Call, Context], Outcome]

_KINDS: Final[Mapping[str, str]] = {
    PAUSED_PROCESS: "process",
    PROCESS: "process",
    DIRECTORY: "directory",
    SQLITE_ALONE: "database",
    SQLITE: "database",
    FILE_SYSTEM: "file system",
}


class HostProvider:
    """Processes, directories, SQLite databases and file systems of the machine that quiesce runs on."""

    def __init__(self, settings: ProviderSettings) -> None:
        state, repository = Path(settings.state_dir), Path(settings.repository_dir)
        self._holders = Holders(state / "holds")
        self._repository = repository
        self._process = ProcessNode(self._holders, state / "suspended")
        self._directory = DirectoryNode(self._holders, repository)
        self._database = DatabaseNode(self._holders, repository)
        self._file_system = FileSystemNode(self._holders, own=(state, Path("/")))
        self._performers = self._all_performers()

    def perform(self, call: Call, context: Context) -> Outcome:
        """Perform one operation and return when its effect is there."""
        return self._performer(call)(call, context)

    def is_frozen(self, call: Call, context: Context) -> bool | None:
        """Tell whether the instance is frozen by us now."""
        match kind_of(call):
            case "process":
                return self._process.is_frozen(call)
            case "database":
                return self._database.is_frozen(call)
            case "file system":
                return self._file_system.is_frozen(call)
            case _:
                return None

    def doctor(self, call: Call, context: Context) -> Sequence[Finding]:
        """Return every check made, passed or not; changes nothing."""
        nodes = {
            "process": self._process.examine,
            "directory": self._directory.examine,
            "database": self._database.examine,
            "file system": self._file_system.examine,
        }
        return nodes[kind_of(call)](call)

    def verify(self, call: Call, context: Context) -> Proof:
        """Check a backup against its checksums, or that a snapshot is whole; changes nothing."""
        return saving.verify(call, self._repository)

    def repository(self, call: Call) -> str:
        """Return where the instance's backups are kept."""
        return str(saving.repository_of(call, self._repository).root)

    def close(self) -> None:
        """Give back what was started; what is still frozen stays so until its THAW or its timer."""
        self._holders.close()

    def _performer(self, call: Call) -> Performer:
        kind = kind_of(call)
        performer = self._performers.get((kind, call.operation))
        if performer is None:
            raise UnsupportedError(f"{call.operation} is nothing that a {kind} of this machine can do")
        return performer

    def _all_performers(self) -> Mapping[tuple[str, Operation], Performer]:
        process, directory = self._process, self._directory
        database, file_system = self._database, self._file_system
        return {
            ("process", Operation.SUSPEND): process.suspend,
            ("process", Operation.RESUME): process.resume,
            ("process", Operation.FREEZE): process.freeze,
            ("process", Operation.THAW): process.thaw,
            ("process", Operation.MEASURE): process.measure,
            ("directory", Operation.SNAPSHOT): directory.snapshot,
            ("directory", Operation.COPY): directory.copy,
            ("directory", Operation.APPLY): directory.apply,
            ("directory", Operation.DELETE): lambda call, _: directory.delete(call),
            ("directory", Operation.MEASURE): lambda call, _: directory.measure(call),
            ("database", Operation.FREEZE): database.freeze,
            ("database", Operation.THAW): database.thaw,
            ("database", Operation.SNAPSHOT): database.snapshot,
            ("database", Operation.COPY): database.copy,
            ("database", Operation.APPLY): database.apply,
            ("database", Operation.DELETE): lambda call, _: database.delete(call),
            ("database", Operation.MEASURE): lambda call, _: database.measure(call),
            ("file system", Operation.FREEZE): file_system.freeze,
            ("file system", Operation.THAW): file_system.thaw,
            ("file system", Operation.MEASURE): lambda call, _: file_system.measure(call),
        }


def kind_of(call: Call) -> str:
    """Return which of this machine's things the call's node stands for.

    Raises:
        UnsupportedError: when its type says none.
    """
    for name in reversed(call.node.type_hierarchy):
        if name in _KINDS:
            return _KINDS[name]
    raise UnsupportedError(
        f"{call.instance} is a {call.node.type}, which is nothing of this machine",
        hint=f"Derive its type from one of {', '.join(sorted(_KINDS))}.",
    )

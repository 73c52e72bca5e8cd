"""A blueprint of what runs on this machine: databases, services, the directories that they write, mounts."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Final

from quiesce.errors import NonRecoverableError
from quiesce.files.mounts import Mount
from quiesce.model.ids import Json
from quiesce.provider_kit.discovery import CONNECTED_TO, CONTAINED_IN, BlueprintBuilder
from quiesce.provider_kit.installed import installed_providers
from quiesce.providers.host import DIRECTORY, FILE_SYSTEM, PROCESS, SQLITE
from quiesce.providers.host.survey import MachineSurvey, Program, directories_of, mount_at, survey_machine

#: nothing below is data that has to come back
_NOT_DATA: Final = tuple(
    map(
        Path,
        ("/proc", "/sys", "/dev", "/run", "/tmp", "/var/tmp", "/var/run", "/var/log", "/var/cache", "/usr"),  # noqa: S108
    )
)
#: here each entry belongs to another program
_SHARED: Final = tuple(map(Path, ("/var/lib", "/srv", "/opt", "/var/www", "/var/spool")))
#: a system that is frozen here can do nothing at all
_SYSTEM_MOUNTS: Final = frozenset({b"/", b"/usr", b"/var", b"/home", b"/boot", b"/etc", b"/opt"})
_FREEZABLE: Final = frozenset({b"ext4", b"ext3", b"xfs", b"btrfs", b"f2fs", b"jfs"})
_POSTGRESQL: Final = "quiesce.nodes.postgresql.Server"
#: databases that nothing of ours freezes: their files are saved as after a power cut
_OTHER_DATABASES: Final = {
    "mariadbd": "quiesce.nodes.mariadb.Server",
    "mysqld": "quiesce.nodes.mariadb.Server",
    "redis-server": "quiesce.nodes.redis.Server",
    "valkey-server": "quiesce.nodes.redis.Server",
    "mongod": "",
    "influxd": "",
    "etcd": "",
}
_LONGEST_COMMAND: Final = 200


def discover(options: Mapping[str, str], own: Path) -> Mapping[str, Json]:
    """Return a blueprint as plain data; its ``description`` says what was left out, and what to look at.

    Option: ``below``, a directory: only what is written below it, wherever that is. Nothing below *own*,
    where quiesce keeps its state, is looked at.

    Raises:
        NonRecoverableError: when nothing was found.
    """
    below = Path(options["below"]).resolve() if options.get("below") else None
    found = _Discovery(survey_machine(), below, own)
    found.add_programs()
    blueprint = found.builder.blueprint()
    if not blueprint["node_templates"]:
        raise NonRecoverableError(
            "no program that could be looked at writes anything",
            hint="As root, all of them can be. What is written only now and then has to be declared by hand.",
        )
    return {"description": "\n".join(found.remarks()), **blueprint}


class _Discovery:
    """One look at this machine."""

    def __init__(self, survey: MachineSurvey, below: Path | None, own: Path) -> None:
        self.builder = BlueprintBuilder()
        self._survey = survey
        self._below = below
        self._own = own
        self._remarks: list[str] = []
        self._directories: dict[Path, str] = {}

    def add_programs(self) -> None:
        """Add a node for everything that was found."""
        servers = {each.server.directory for each in self._survey.programs if each.server is not None}
        written = {path for each in self._survey.programs for path in each.written if self._counts(path)}
        loose = _outside(written, servers)
        shared = (*_SHARED, *([self._below] if self._below is not None else ()))
        for directory in directories_of(loose, shared):
            self._add_directory(directory)
        for program in self._survey.programs:
            self._add_program(program, servers)

    def remarks(self) -> Iterator[str]:
        """Yield what a reader of the blueprint has to know."""
        yield "Written by 'quiesce discover host': read it, correct it, then quiesce init, quiesce doctor."
        if not self._survey.systemd:
            yield (
                "systemd does not run here: which service a process is, and how it is stopped and started, "
                "could not be looked at. Give each process a start (docs/providers/host.md)."
            )
        if self._survey.unseen:
            yield f"{self._survey.unseen} processes of other users could not be looked at: run it as root."
        if self._survey.contained:
            yield f"{self._survey.contained} processes run in containers, which were not looked into."
        yield "Files that are opened only now and then are not seen: add their directories."
        yield from self._remarks

    def _counts(self, path: Path) -> bool:
        if path.is_relative_to(self._own):
            return False
        if self._below is not None:
            return path.is_relative_to(self._below)
        return not any(path.is_relative_to(each) for each in _NOT_DATA)

    def _add_directory(self, directory: Path) -> None:
        name = self.builder.name("directory", str(directory), wish=directory.name or "root")
        mount = mount_at(directory, self._survey.mounts)
        links = []
        if mount is not None and mount.point == os.fsencode(directory):
            self._remarks.append(
                f"{directory} is a mount point, which a restore cannot exchange: move the data one directory "
                "down, or declare the directories in it."
            )
        if mount is not None and self._is_freezable(mount):
            links.append((CONTAINED_IN, self._file_system(mount)))
        self.builder.add(name, DIRECTORY, {"path": str(directory)}, links)
        self._directories[directory] = name

    def _is_freezable(self, mount: Mount) -> bool:
        ours = mount_at(self._own, self._survey.mounts)
        return (
            mount.file_system in _FREEZABLE
            and mount.point not in _SYSTEM_MOUNTS
            and (ours is None or ours.device != mount.device)
        )

    def _file_system(self, mount: Mount) -> str:
        point = os.fsdecode(mount.point)
        name = self.builder.name("file_system", point, wish=f"mount{point}")
        self.builder.add(name, FILE_SYSTEM, {"path": point})
        return name

    def _add_program(self, program: Program, servers: Iterable[Path]) -> None:
        if program.server is not None and self._takes_part(program.server.directory):
            self._add_server(program)
            return
        files = [path for path in program.written if self._counts(path)]
        loose = _outside(files, servers)
        if not loose:
            return
        links = [
            (CONNECTED_TO, self._add_database(path)) for path in sorted(program.databases.intersection(loose))
        ]
        links += [(CONNECTED_TO, self._directory_of(path)) for path in sorted(loose)]
        properties: dict[str, Json] = _found_by(program)
        name = self.builder.name("process", str(program.pid), wish=program.unit or program.name)
        self.builder.add(name, PROCESS, properties, links)
        self._remark_on(program)

    def _takes_part(self, directory: Path) -> bool:
        return self._below is None or directory.is_relative_to(self._below)

    def _add_server(self, program: Program) -> None:
        server = program.server
        if server is None:
            return
        properties: dict[str, Json] = {
            "host": server.sockets,
            "port": server.port,
            "data_directory": str(server.directory),
            **({"systemd_unit": program.unit} if program.unit else {}),
        }
        name = self.builder.name("postgresql", str(server.port), wish=f"postgresql_{server.port}")
        self.builder.add(name, _POSTGRESQL, properties)
        self._remarks.append(
            f"{name}: connect to it (connected_to) the processes that use it: that is not seen."
        )

    def _add_database(self, path: Path) -> str:
        name = self.builder.name("database", str(path), wish=path.stem)
        self.builder.add(name, SQLITE, {"path": str(path)}, [(CONTAINED_IN, self._directory_of(path))])
        return name

    def _directory_of(self, path: Path) -> str:
        return next(name for root, name in self._directories.items() if path.is_relative_to(root))

    def _remark_on(self, program: Program) -> None:
        node_type = _OTHER_DATABASES.get(program.name)
        if node_type is None:
            return
        if node_type in _known_types():
            self._remarks.append(f"{program.name} is a database: replace its nodes by a {node_type}.")
        else:
            self._remarks.append(
                f"{program.name} is a database for which there is no node type: its directory alone is worth "
                "'crash'. Give it hooks of its own (docs/providers/script.md)."
            )


def _outside(paths: Iterable[Path], directories: Iterable[Path]) -> list[Path]:
    return [path for path in paths if not any(path.is_relative_to(each) for each in directories)]


def _found_by(program: Program) -> dict[str, Json]:
    """Return the properties by which a process is found again."""
    if program.unit is not None:
        return {"systemd_unit": program.unit}
    whole = len(program.command) <= _LONGEST_COMMAND
    return {"command": f"^{re.escape(program.command[:_LONGEST_COMMAND])}{'$' if whole else ''}"}


def _known_types() -> Sequence[str]:
    return [name for each in installed_providers() for kind in each.description.kinds for name in kind.types]

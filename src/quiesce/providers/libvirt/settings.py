"""What a node of a blueprint asks for, read from its properties, runtime properties and inputs."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

from quiesce.errors import NonRecoverableError
from quiesce.model.call import Call, Related
from quiesce.model.ids import BackupName, Json
from quiesce.repository import BackupKey

DEFAULT_URI: Final = "qemu:///system"
#: QEMU writes its scratch files and its socket here: it must be able to, whatever user it runs as
DEFAULT_SCRATCH: Final = "/var/tmp"  # noqa: S108  names are unguessable and files private


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """One node's wishes. Every field is a property of ``quiesce.nodes.libvirt.Domain``."""

    uri: str
    #: names that the resource may have, the best first
    names: tuple[str, ...]
    mountpoints: tuple[str, ...] = ()
    freeze_timeout_s: float = 20.0
    #: suspend by writing the memory to disk and stopping QEMU
    save_memory: bool = False
    #: ``external`` (disks only) or ``internal`` (with memory when it runs)
    snapshot_kind: str = "external"
    #: ``full``, or ``incremental`` where that is possible
    backup_mode: str = "full"
    #: how many increments may follow a full backup
    longest_chain: int = 30
    compress: bool = False
    exclude_disks: frozenset[str] = frozenset()
    scratch_dir: str = DEFAULT_SCRATCH
    #: directory of the node's own repository; None: the default one
    repository: str | None = None
    #: restore under this name, next to the one that was backed up
    restore_as: str | None = None
    apply_definition: bool = False
    pool: str | None = None

    @property
    def name(self) -> str:
        """The name to show."""
        return self.names[0]

    @property
    def is_local(self) -> bool:
        """Tell whether the hypervisor runs on this machine, so that its files can be reached."""
        return urlsplit(self.uri).hostname in {None, "localhost", "127.0.0.1", "::1"}


def settings_of(call: Call) -> Settings:
    """Return what *call*'s node asks for."""
    read = _Reader(call)
    return Settings(
        uri=uri_of(call.properties, call.runtime_properties),
        names=resource_names(call.properties, call.runtime_properties, call.instance),
        mountpoints=read.names("mountpoints"),
        freeze_timeout_s=read.number("freeze_timeout", 20.0),
        save_memory=read.flag("save_memory"),
        snapshot_kind=read.choice("snapshot_kind", ("external", "internal")),
        backup_mode=read.choice("backup_mode", ("full", "incremental")),
        longest_chain=int(read.number("longest_chain", 30)),
        compress=read.flag("compress"),
        exclude_disks=frozenset(read.names("exclude_disks")),
        scratch_dir=read.text("scratch_dir", DEFAULT_SCRATCH),
        repository=_repository(read),
        restore_as=read.text("restore_as", "") or None,
        apply_definition=call.parameters.apply_network or read.flag("apply_network"),
        pool=read.text("pool", "") or _params(call.properties, call.runtime_properties, "pool"),
    )


def uri_of(properties: Mapping[str, Json], runtime: Mapping[str, Json]) -> str:
    """Return the hypervisor's URI."""
    for source in (runtime, properties):
        found = source.get("libvirt_auth")
        if isinstance(found, str) and found:
            return found
    return DEFAULT_URI


def resource_names(
    properties: Mapping[str, Json], runtime: Mapping[str, Json], instance: str
) -> tuple[str, ...]:
    """Return the names that the resource may have, the best first."""
    named = (
        runtime.get("resource_id"),
        runtime.get("name"),
        properties.get("resource_id"),
        properties.get("name"),
        _params(properties, runtime, "name"),
        instance,
    )
    return tuple(dict.fromkeys(name for name in named if isinstance(name, str) and name))


def related_names(related: Related) -> tuple[str, ...]:
    """Return the names that a neighbour's resource may have."""
    return resource_names(related.properties, related.runtime_properties, related.instance)


def place_of(call: Call) -> BackupKey:
    """Return where the backup that *call* is about lies in the repository."""
    return BackupKey(deployment=call.deployment, point=point_of(call), instance=call.instance)


def point_of(call: Call) -> BackupName:
    """Return the restore point's name."""
    if call.point is None:
        raise NonRecoverableError(f"{call.operation} of {call.instance} needs the name of a restore point")
    return call.point


def object_name(call: Call) -> str:
    """Return the name of the object that *call* makes: ``<instance id>-<backup name>``."""
    return f"{call.instance}-{point_of(call)}"


def key_of(call: Call) -> str:
    """Return a short word that only this restore point of this instance has."""
    return _word(f"{call.deployment}\0{point_of(call)}\0{call.instance}", 16)


def execution_key(call: Call) -> str:
    """Return a short word that only this execution has."""
    return _word(call.execution, 8)


class _Reader:
    """Reads a wish from the inputs (and so workflow parameters) first, then from the properties."""

    def __init__(self, call: Call) -> None:
        self._sources = (call.inputs, call.properties)
        self._instance = call.instance

    def _find(self, name: str) -> Json:
        return next((source[name] for source in self._sources if source.get(name) is not None), None)

    def text(self, name: str, default: str) -> str:
        found = self._find(name)
        return found if isinstance(found, str) else default

    def flag(self, name: str) -> bool:
        return self._find(name) in (True, "true", "yes")

    def number(self, name: str, default: float) -> float:
        found = self._find(name)
        return float(found) if isinstance(found, int | float) else default

    def names(self, name: str) -> tuple[str, ...]:
        found = self._find(name)
        return tuple(str(each) for each in found) if isinstance(found, list) else ()

    def choice(self, name: str, choices: tuple[str, ...]) -> str:
        found = self.text(name, choices[0])
        if found not in choices:
            raise NonRecoverableError(
                f"{name} of {self._instance} is {found!r}; it must be one of {', '.join(choices)}"
            )
        return found


def _repository(read: _Reader) -> str | None:
    """Return the node's own repository; official blueprints call it ``backup_dir``, ``./`` by default."""
    named = read.text("repository", "") or read.text("backup_dir", "")
    return named if Path(named).is_absolute() else None


def _params(properties: Mapping[str, Json], runtime: Mapping[str, Json], name: str) -> str | None:
    for source in (runtime, properties):
        params = source.get("params")
        if isinstance(params, dict) and isinstance(params.get(name), str) and params[name]:
            return str(params[name])
    return None


def _word(text: str, length: int) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:length]

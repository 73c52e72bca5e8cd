"""The provider: which class answers for which kind of node."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from quiesce.errors import NonRecoverableError, ProviderError
from quiesce.model.call import Call
from quiesce.model.ids import Json
from quiesce.model.outcome import Outcome
from quiesce.model.restore_point import Proof
from quiesce.ports import Context, Finding, ProviderSettings
from quiesce.providers.libvirt import NETWORK_TYPES, POOL_TYPES, VOLUME_TYPES
from quiesce.providers.libvirt.client import Hypervisors
from quiesce.providers.libvirt.copying import check_file
from quiesce.providers.libvirt.definitions import NETWORKS, POOLS, DefinedKind, Definitions
from quiesce.providers.libvirt.discover import blueprint_of
from quiesce.providers.libvirt.domains import Domains
from quiesce.providers.libvirt.settings import DEFAULT_URI, Settings, place_of, settings_of
from quiesce.providers.libvirt.statistics import Sampler
from quiesce.providers.libvirt.volumes import Volumes
from quiesce.repository import Manifest, Repository


class _Keepers:
    """Who answers for each kind of node, storing in one repository."""

    def __init__(self, hypervisors: Hypervisors, repository: Repository, sampler: Sampler) -> None:
        self.repository = repository
        self.domains = Domains(hypervisors, repository, sampler)
        self.volumes = Volumes(hypervisors, repository)
        self.definitions = Definitions(hypervisors, repository)


class LibvirtProvider:
    """Performs operations on libvirt's domains, volumes, networks and pools."""

    def __init__(self, settings: ProviderSettings, hypervisors: Hypervisors | None = None) -> None:
        self._default_root = settings.repository_dir
        self._hypervisors = hypervisors or Hypervisors()
        self._sampler = Sampler()

    def perform(self, call: Call, context: Context) -> Outcome:
        """Perform one operation and return when its effect is there."""
        settings = settings_of(call)
        keepers = self._keepers(settings)
        if _is_of(call, VOLUME_TYPES):
            return keepers.volumes.perform(call, settings, context)
        if (kind := _defined_kind(call)) is not None:
            return keepers.definitions.perform(kind, call, settings, context)
        return keepers.domains.perform(call, settings, context)

    def is_frozen(self, call: Call, context: Context) -> bool | None:
        """Tell whether the guest is frozen now; None when its agent does not tell."""
        del context
        settings = settings_of(call)
        return self._keepers(settings).domains.is_frozen(settings)

    def doctor(self, call: Call, context: Context) -> Sequence[Finding]:
        """Return every check made, passed or not; changes nothing."""
        del context
        settings = settings_of(call)
        keepers = self._keepers(settings)
        try:
            if _is_of(call, VOLUME_TYPES):
                return keepers.volumes.examine(call, settings)
            if (kind := _defined_kind(call)) is not None:
                return keepers.definitions.examine(kind, settings)
            return keepers.domains.examine(settings)
        except ProviderError as error:
            return [Finding(check="found", passed=False, detail=str(error), remedy=error.hint)]

    def verify(self, call: Call, context: Context) -> Proof:
        """Read every stored byte and compare it with its checksum."""
        repository = self._keepers(settings_of(call)).repository
        try:
            manifest = repository.find(place_of(call))
            if manifest is None and _is_stored(call):
                raise NonRecoverableError(f"there is no backup of {call.instance} in {repository.root}")
            detail = _check(repository, manifest, context) if manifest else "nothing is stored for it"
        except ProviderError as error:
            return Proof(at=time.time(), kind="checksums", passed=False, detail=str(error))
        return Proof(at=time.time(), kind="checksums", passed=True, detail=detail)

    def repository(self, call: Call) -> str:
        """Return where the instance's backups are kept."""
        return str(self._keepers(settings_of(call)).repository.root)

    def discover(self, options: Mapping[str, str]) -> Mapping[str, Json]:
        """Return a blueprint of what runs at the URI that *options* names as ``endpoint``."""
        return blueprint_of(self._hypervisors.get(options.get("endpoint") or DEFAULT_URI))

    def close(self) -> None:
        """Give the connections back."""
        self._hypervisors.close()

    def _keepers(self, settings: Settings) -> _Keepers:
        """Return who stores in the node's own repository, or in the default one."""
        root = Path(settings.repository or self._default_root)
        return _Keepers(self._hypervisors, Repository(root), self._sampler)


def _check(repository: Repository, manifest: Manifest, context: Context) -> str:
    moved = 0

    def advance(length: int) -> None:
        nonlocal moved
        moved += length
        context.progress(moved, manifest.size_bytes)

    for file in manifest.files:
        check_file(repository.path(manifest, file.path), file, advance)
    return f"{len(manifest.files)} files, {moved} bytes, as they were written"


def _is_of(call: Call, types: frozenset[str]) -> bool:
    return bool(types & frozenset(call.node.type_hierarchy))


def _defined_kind(call: Call) -> DefinedKind | None:
    if _is_of(call, NETWORK_TYPES):
        return NETWORKS
    return POOLS if _is_of(call, POOL_TYPES) else None


def _is_stored(call: Call) -> bool:
    """Tell whether the restore point of this instance lies in the repository."""
    if (call.artifact or {}).get("kind") == "through":
        return False
    return call.full or _defined_kind(call) is not None

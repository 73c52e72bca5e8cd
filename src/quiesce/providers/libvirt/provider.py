"""The provider: which module does what, for each kind of node."""

from __future__ import annotations

from pathlib import Path
from typing import assert_never

from quiesce.errors import ProviderError, ResourceNotFoundError, UnsupportedError
from quiesce.model.call import Call
from quiesce.model.operation import Operation
from quiesce.model.outcome import NOTHING, Outcome
from quiesce.ports import Context, ProviderSettings
from quiesce.providers.libvirt import (
    agent,
    internal,
    overlays,
)
from quiesce.providers.libvirt.backup import Backups, disks_to_save
from quiesce.providers.libvirt.client import Domain, Hypervisors, State
from quiesce.providers.libvirt.definition import read_definition
from quiesce.providers.libvirt.restore import Restores
from quiesce.providers.libvirt.settings import Settings, settings_of
from quiesce.repository import Repository


class LibvirtProvider:
    """Performs operations on libvirt's domains, volumes, networks and pools."""

    def __init__(self, settings: ProviderSettings, hypervisors: Hypervisors | None = None) -> None:
        self._hypervisors = hypervisors or Hypervisors()
        self._repository = Repository(Path(settings.repository_dir))
        self._backups = Backups(self._repository)
        self._restores = Restores(self._repository)

    def perform(self, call: Call, context: Context) -> Outcome:
        """Perform one operation and return when its effect is there."""
        return self._perform_on_domain(call, context)

    def is_frozen(self, call: Call, context: Context) -> bool | None:
        """Tell whether the guest is frozen now; None when its agent does not tell."""
        return agent.is_frozen(self._domain(call, for_thaw=True))

    def close(self) -> None:
        """Give the connections back."""
        self._hypervisors.close()

    def _perform_on_domain(self, call: Call, context: Context) -> Outcome:
        settings = settings_of(call)
        match call.operation:
            case Operation.FREEZE:
                return self._freeze(call, settings, context)
            case Operation.THAW:
                return agent.thaw(self._domain(call, for_thaw=True), context)
            case Operation.SNAPSHOT:
                return self._cut(call, settings, context)
            case Operation.COPY:
                return self._backups.copy(self._domain(call), call, settings, context)
            case Operation.APPLY:
                return self._apply(call, settings, context)
            case Operation.DELETE:
                return self._delete(call, settings, context)
            case Operation.SUSPEND | Operation.RESUME:
                return _switch(self._domain(call), settings, suspend=call.operation is Operation.SUSPEND)
            case Operation.MEASURE:
                return NOTHING
            case unknown:
                assert_never(unknown)

    def _freeze(self, call: Call, settings: Settings, context: Context) -> Outcome:
        return agent.freeze(
            self._domain(call),
            context,
            execution=call.execution,
            mountpoints=settings.mountpoints,
            thaw_after_s=call.thaw_after_s,
            limit_s=settings.freeze_timeout_s,
        )

    def _cut(self, call: Call, settings: Settings, context: Context) -> Outcome:
        domain = self._domain(call)
        if call.full:
            return self._backups.cut(domain, call, settings, context)
        if not domain.is_persistent():
            raise UnsupportedError(f"{domain.name} is transient: libvirt forgets it when it stops")
        disks, excluded = disks_to_save(read_definition(domain.xml()), settings)
        if settings.snapshot_kind == "internal":
            return internal.take(domain, call, disks, excluded)
        return overlays.take(domain, call, disks, excluded)

    def _apply(self, call: Call, settings: Settings, context: Context) -> Outcome:
        hypervisor = self._hypervisors.get(settings.uri)
        if call.full:
            return self._restores.apply(hypervisor, call, settings, context)
        domain = self._domain(call)
        if internal.is_one(domain, call):
            internal.apply(hypervisor, domain, call, context)
        else:
            overlays.apply(hypervisor, domain, call, context)
        return NOTHING

    def _delete(self, call: Call, settings: Settings, context: Context) -> Outcome:
        try:
            domain = self._domain(call)
        except ResourceNotFoundError:
            domain = None
        if call.full:
            self._backups.delete(domain, call, settings, context)
        elif domain is not None:
            internal.delete(domain, call)
            overlays.delete(self._hypervisors.get(settings.uri), domain, call, context)
        return NOTHING

    def _domain(self, call: Call, *, for_thaw: bool = False) -> Domain:
        settings = settings_of(call)
        hypervisor = self._hypervisors.get(settings.uri, for_thaw=for_thaw)
        missing: ProviderError | None = None
        for name in settings.names:
            try:
                return hypervisor.domain(name)
            except ResourceNotFoundError as error:
                missing = missing or error
        raise missing or ResourceNotFoundError(f"{call.instance} names no domain")


def _switch(domain: Domain, settings: Settings, *, suspend: bool) -> Outcome:
    state = domain.state()
    if suspend:
        _suspend(domain, settings, state)
    elif state is State.OFF:
        domain.start()
    elif state is not State.RUNNING:
        domain.resume()
    return NOTHING


def _suspend(domain: Domain, settings: Settings, state: State) -> None:
    if state is State.OFF:
        return
    if settings.save_memory:
        domain.save()
    elif state is State.RUNNING:
        domain.suspend()

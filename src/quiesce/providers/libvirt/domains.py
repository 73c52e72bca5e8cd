"""Everything that can be done to a domain, each by the module that knows how."""

from __future__ import annotations

from collections.abc import Sequence

from quiesce.errors import ProviderError, ResourceNotFoundError, UnsupportedError
from quiesce.model.call import Call
from quiesce.model.operation import Operation
from quiesce.model.outcome import NOTHING, Outcome
from quiesce.ports import Context, Finding
from quiesce.providers.libvirt import agent, doctor, internal, overlays
from quiesce.providers.libvirt.backup import Backups, disks_to_save
from quiesce.providers.libvirt.client import Domain, Hypervisor, Hypervisors, State
from quiesce.providers.libvirt.definition import read_definition
from quiesce.providers.libvirt.restore import Restores
from quiesce.providers.libvirt.settings import Settings
from quiesce.providers.libvirt.statistics import Sampler
from quiesce.repository import Repository


class Domains:
    """Performs operations on domains."""

    def __init__(self, hypervisors: Hypervisors, repository: Repository, sampler: Sampler) -> None:
        self._hypervisors = hypervisors
        self._repository = repository
        self._backups = Backups(repository)
        self._restores = Restores(repository)
        self._sampler = sampler

    def perform(self, call: Call, settings: Settings, context: Context) -> Outcome:
        """Perform one operation and return when its effect is there."""
        match call.operation:
            case Operation.FREEZE:
                return self._freeze(call, settings, context)
            case Operation.THAW:
                return agent.thaw(self.find(settings, for_thaw=True), context)
            case Operation.SUSPEND | Operation.RESUME | Operation.MEASURE:
                return self._run(call, settings)
            case _:
                return self._save(call, settings, context)

    def is_frozen(self, settings: Settings) -> bool | None:
        """Tell whether the guest is frozen now; None when its agent does not tell."""
        return agent.is_frozen(self.find(settings, for_thaw=True))

    def examine(self, settings: Settings) -> Sequence[Finding]:
        """Return every check made, passed or not."""
        return doctor.examine(self.find(settings), settings, str(self._repository.root))

    def find(self, settings: Settings, *, for_thaw: bool = False) -> Domain:
        """Return the domain that the node stands for."""
        hypervisor = self._hypervisors.get(settings.uri, for_thaw=for_thaw)
        missing: ProviderError | None = None
        for name in settings.names:
            try:
                return hypervisor.domain(name)
            except ResourceNotFoundError as error:
                missing = missing or error
        raise missing or ResourceNotFoundError(f"there is no domain {settings.name}")

    def _freeze(self, call: Call, settings: Settings, context: Context) -> Outcome:
        return agent.freeze(
            self.find(settings),
            context,
            execution=call.execution,
            mountpoints=settings.mountpoints,
            thaw_after_s=call.thaw_after_s,
            limit_s=settings.freeze_timeout_s,
        )

    def _run(self, call: Call, settings: Settings) -> Outcome:
        domain = self.find(settings)
        if call.operation is Operation.SUSPEND:
            _suspend(domain, save_memory=settings.save_memory)
        elif call.operation is Operation.RESUME:
            _resume(domain)
        else:
            hypervisor = self._hypervisors.get(settings.uri)
            pair = self._sampler.measure(settings.uri, hypervisor.statistics)
            return Outcome(measurements=pair.measurements(domain.uuid))
        return NOTHING

    def _save(self, call: Call, settings: Settings, context: Context) -> Outcome:
        match call.operation:
            case Operation.SNAPSHOT:
                return self._cut(call, settings, context)
            case Operation.COPY:
                return self._backups.copy(self.find(settings), call, settings, context)
            case Operation.APPLY:
                return self._apply(call, settings, context)
            case _:
                return self._delete(call, settings, context)

    def _cut(self, call: Call, settings: Settings, context: Context) -> Outcome:
        domain = self.find(settings)
        if call.full:
            return self._backups.cut(domain, call, settings, context)
        if not domain.is_persistent():
            raise UnsupportedError(
                f"{domain.name} is transient: libvirt forgets it, and its snapshots, when it stops",
                hint="Make it persistent (virsh dumpxml, then virsh define), or make full backups.",
            )
        disks, excluded = disks_to_save(read_definition(domain.xml()), settings)
        take = internal.take if settings.snapshot_kind == "internal" else overlays.take
        return take(domain, call, disks, excluded)

    def _apply(self, call: Call, settings: Settings, context: Context) -> Outcome:
        hypervisor = self._hypervisors.get(settings.uri)
        if call.full:
            return self._restores.apply(hypervisor, call, settings, context)
        domain = self.find(settings)
        apply = internal.apply if internal.is_one(domain, call) else overlays.apply
        apply(hypervisor, domain, call)
        return NOTHING

    def _delete(self, call: Call, settings: Settings, context: Context) -> Outcome:
        domain = self._found(settings)
        if call.full:
            self._backups.delete(domain, call, settings, context)
        elif domain is not None:
            internal.delete(domain, call)
            hypervisor: Hypervisor = self._hypervisors.get(settings.uri)
            overlays.delete(hypervisor, domain, call, context)
        return NOTHING

    def _found(self, settings: Settings) -> Domain | None:
        try:
            return self.find(settings)
        except ResourceNotFoundError:
            return None


def _suspend(domain: Domain, *, save_memory: bool) -> None:
    state = domain.state()
    if state is State.OFF:
        return
    if save_memory:
        domain.save()
    elif state is State.RUNNING:
        domain.suspend()


def _resume(domain: Domain) -> None:
    state = domain.state()
    if state is State.OFF:
        if domain.has_managed_save():
            domain.start()
    elif state is not State.RUNNING:
        domain.resume()

"""Networks and pools: their definitions saved, compared, and put back when asked."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from quiesce.errors import ForeignObjectError, NonRecoverableError, ResourceNotFoundError, UnsupportedError
from quiesce.model.call import Call
from quiesce.model.consistency import Consistency
from quiesce.model.ids import Json
from quiesce.model.operation import Operation
from quiesce.model.outcome import NOTHING, Outcome
from quiesce.model.records import Level
from quiesce.ports import Context, Finding
from quiesce.providers.libvirt import xml
from quiesce.providers.libvirt.client import Hypervisor, Hypervisors, Thing
from quiesce.providers.libvirt.definition import difference
from quiesce.providers.libvirt.settings import Settings, place_of
from quiesce.repository import Repository

_FILE: Final = "definition.xml"


@dataclass(frozen=True, slots=True, kw_only=True)
class DefinedKind:
    """What is the same for networks and pools."""

    word: str
    find: Callable[[Hypervisor, str], Thing]
    define: Callable[[Hypervisor, str], Thing]


NETWORKS: Final = DefinedKind(word="network", find=Hypervisor.network, define=Hypervisor.define_network)
POOLS: Final = DefinedKind(word="pool", find=Hypervisor.pool, define=Hypervisor.define_pool)


class Definitions:
    """Saves definitions in one repository."""

    def __init__(self, hypervisors: Hypervisors, repository: Repository) -> None:
        self._hypervisors = hypervisors
        self._repository = repository

    def perform(self, kind: DefinedKind, call: Call, settings: Settings, context: Context) -> Outcome:
        """Perform one operation and return when its effect is there."""
        match call.operation:
            case Operation.SNAPSHOT:
                return self._cut(kind, call, settings)
            case Operation.COPY:
                return self._copy(call)
            case Operation.APPLY:
                return self._apply(kind, call, settings, context)
            case Operation.DELETE:
                return self._delete(call, context)
            case other:
                raise UnsupportedError(f"a {kind.word} has no {other}")

    def examine(self, kind: DefinedKind, settings: Settings) -> Sequence[Finding]:
        """Tell whether it is there."""
        thing = _find(kind, self._hypervisors.get(settings.uri), settings)
        active = "active" if thing.is_active() else "not active"
        return [Finding(check="found", passed=True, detail=f"{kind.word} {thing.name} is {active}")]

    def _cut(self, kind: DefinedKind, call: Call, settings: Settings) -> Outcome:
        """Read the definition as it is now."""
        made = self._repository.made_before(place_of(call), call.execution)
        if made is not None:
            return Outcome(artifact=made.content)
        thing = _find(kind, self._hypervisors.get(settings.uri), settings)
        return Outcome(
            artifact={
                "kind": kind.word,
                "name": thing.name,
                "xml": thing.xml(),
                "active": thing.is_active(),
                "cut_at": time.time(),
            }
        )

    def _copy(self, call: Call) -> Outcome:
        """Store what was read."""
        made = self._repository.made_before(place_of(call), call.execution)
        if made is None:
            artifact = dict(call.artifact or {})
            if not artifact:
                raise NonRecoverableError(f"{call.instance} was not read before it is to be stored")
            draft = self._repository.begin(place_of(call), execution=call.execution, provider="libvirt")
            with draft.create(_FILE) as out:
                out.write(str(artifact.pop("xml")).encode())
            cut_at = artifact.get("cut_at")
            made = draft.complete(
                function=call.function,
                consistency=Consistency.APPLICATION,
                cut_at=cut_at if isinstance(cut_at, float) else None,
                made_at=time.time(),
                content=artifact,
            )
        return Outcome(artifact=made.content)

    def _apply(self, kind: DefinedKind, call: Call, settings: Settings, context: Context) -> Outcome:
        """Tell what differs from the stored definition; put it back when that was asked for."""
        hypervisor = self._hypervisors.get(settings.uri)
        manifest = self._repository.manifest(place_of(call))
        with self._repository.open(manifest, _FILE) as stored:
            text = stored.read().decode(errors="replace")
            stored.check()
        found = difference(text, _current(kind, hypervisor, settings))
        if not found:
            return Outcome(note=f"the {kind.word}'s definition is as it was", result=[])
        for line in found:
            context.log(Level.INFO, line)
        result: list[Json] = list(found)
        if not settings.apply_definition:
            note = f"the {kind.word}'s definition differs; set apply_network to put it back"
            return Outcome(note=note, result=result)
        _put_back(kind, hypervisor, settings, text, manifest.content)
        return Outcome(note=f"the {kind.word}'s definition was put back", result=result)

    def _delete(self, call: Call, context: Context) -> Outcome:
        """Remove what is stored; the network or pool itself is never touched."""
        try:
            self._repository.delete(place_of(call), made_by=call.execution if call.undo else None)
        except ForeignObjectError as error:
            context.log(Level.WARNING, f"left alone: {error}")
        return NOTHING


def _find(kind: DefinedKind, hypervisor: Hypervisor, settings: Settings) -> Thing:
    missing: ResourceNotFoundError | None = None
    for name in settings.names:
        try:
            return kind.find(hypervisor, name)
        except ResourceNotFoundError as error:
            missing = missing or error
    raise missing or ResourceNotFoundError(f"no {kind.word} {settings.name}")


def _current(kind: DefinedKind, hypervisor: Hypervisor, settings: Settings) -> str:
    """Return the definition there is; an empty one when there is none."""
    try:
        return _find(kind, hypervisor, settings).xml()
    except ResourceNotFoundError:
        return xml.write(xml.element(kind.word))


def _put_back(
    kind: DefinedKind, hypervisor: Hypervisor, settings: Settings, text: str, content: Mapping[str, Json]
) -> None:
    try:
        there = _find(kind, hypervisor, settings)
    except ResourceNotFoundError:
        was_active = bool(content.get("active"))
    else:
        was_active = there.is_active()
        there.remove()
    made = kind.define(hypervisor, text)
    if was_active or content.get("active"):
        made.start()

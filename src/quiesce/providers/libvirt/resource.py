"""Which resource of which hypervisor a node stands for."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final, TypeVar
from urllib.parse import urlsplit

from quiesce.errors import ResourceNotFoundError
from quiesce.model.call import Call, Related
from quiesce.model.ids import Json

T = TypeVar("T")

DEFAULT_URI: Final = "qemu:///system"


@dataclass(frozen=True, slots=True, kw_only=True)
class LibvirtResource:
    """A domain, volume, network or pool, as the blueprint names it."""

    uri: str
    #: names that it may have, the best first
    names: tuple[str, ...]
    #: the pool that a volume lies in
    pool: str | None = None

    @property
    def is_local(self) -> bool:
        """Tell whether the hypervisor runs on this machine, so that its files can be reached."""
        return urlsplit(self.uri).hostname in {None, "localhost", "127.0.0.1", "::1"}

    def find(self, look_up: Callable[[str], T]) -> T:
        """Return what *look_up* finds under the first of the names that is there.

        Raises:
            ResourceNotFoundError: when there is nothing of any of them; it tells of the best one.
        """
        missing: ResourceNotFoundError | None = None
        for name in self.names:
            try:
                return look_up(name)
            except ResourceNotFoundError as error:
                missing = missing or error
        raise missing or ResourceNotFoundError("the node names no resource")


def resource_of(call: Call) -> LibvirtResource:
    """Return what *call*'s node stands for."""
    sources = (call.runtime_properties, call.properties)
    return LibvirtResource(
        uri=_first([source.get("libvirt_auth") for source in sources]) or DEFAULT_URI,
        names=_names(call.properties, call.runtime_properties, call.instance),
        pool=_first([call.properties.get("pool"), *(_param(source, "pool") for source in sources)]),
    )


def names_of(related: Related) -> tuple[str, ...]:
    """Return the names that a neighbour's resource may have."""
    return _names(related.properties, related.runtime_properties, related.instance)


def _names(properties: Mapping[str, Json], runtime: Mapping[str, Json], instance: str) -> tuple[str, ...]:
    named = (
        runtime.get("resource_id"),
        runtime.get("name"),
        properties.get("resource_id"),
        properties.get("name"),
        _first([_param(runtime, "name"), _param(properties, "name")]),
        instance,
    )
    return tuple(dict.fromkeys(name for name in named if isinstance(name, str) and name))


def _param(source: Mapping[str, Json], name: str) -> Json:
    params = source.get("params")
    return params.get(name) if isinstance(params, dict) else None


def _first(values: list[Json]) -> str | None:
    return next((value for value in values if isinstance(value, str) and value), None)

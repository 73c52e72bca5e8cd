"""Which server, volume or network object a node stands for."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Final, TypeVar

from quiesce.errors import NonRecoverableError, ResourceNotFoundError
from quiesce.model.call import Call, Related
from quiesce.model.ids import Json
from quiesce.providers.openstack.collection import Collection
from quiesce.providers.openstack.job import OpenStackJob
from quiesce.providers.openstack.resources import NamedResource, Server, Volume

T = TypeVar("T", bound=NamedResource)

_UUID: Final = re.compile(r"[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}")

#: where plugins of version 3 (``id``), version 2 (``external_id``) and quiesce keep it
_RUNTIME: Final = ("id", "external_id", "resource_id")


def ids_of(properties: Mapping[str, Json], runtime_properties: Mapping[str, Json]) -> Iterator[str]:
    """Return the ids (or names) under which a node may be known, surest first."""
    for key in _RUNTIME:
        yield from _text(runtime_properties.get(key))
    yield from _text(properties.get("resource_id"))
    config = properties.get("resource_config")
    if isinstance(config, dict):
        yield from _text(config.get("id"))


def names_of(
    properties: Mapping[str, Json], runtime_properties: Mapping[str, Json], section: str
) -> Iterator[str]:
    """Return the names that a node's resource may have; *section* is where version 2 keeps its settings."""
    yield from _text(runtime_properties.get("external_name"))
    yield from _text(runtime_properties.get("name"))
    for key in ("resource_config", section):
        config = properties.get(key)
        if isinstance(config, dict):
            yield from _text(config.get("name"))


def server_of(job: OpenStackJob) -> Server:
    """Return the call's server as it is now.

    Raises:
        ResourceNotFoundError: when it is not there.
        NonRecoverableError: when it is only known by a name that several servers have.
    """
    return _only(job.call, _looked_up(job, job.connection.servers), "server")


def volume_of(job: OpenStackJob) -> Volume | None:
    """Return the call's volume as it is now; None when it is gone (a backup may bring it back)."""
    try:
        return _only(job.call, _looked_up(job, job.connection.volumes), "volume")
    except ResourceNotFoundError:
        return None


def known_id(call: Call) -> str | None:
    """Return the id that the call's node names, whether it exists or not."""
    return next(ids_of(call.properties, call.runtime_properties), None)


def volumes_with_a_node(call: Call, volumes: Iterable[Volume]) -> frozenset[str]:
    """Return the ids of those volumes that the neighbours of the call's node stand for."""
    return volumes_of(call.related, volumes)


def volumes_of(nodes: Iterable[Related], volumes: Iterable[Volume]) -> frozenset[str]:
    """Return the ids of those volumes that *nodes* stand for."""
    known = set().union(*(_known(node) for node in nodes))
    return frozenset(volume.id for volume in volumes if volume.id in known or volume.name in known)


def _known(neighbour: Related) -> set[str]:
    if not any(type_.endswith(".Volume") for type_ in neighbour.node.type_hierarchy):
        return set()
    ids = ids_of(neighbour.properties, neighbour.runtime_properties)
    return {*ids, *names_of(neighbour.properties, neighbour.runtime_properties, "volume")}


def _looked_up(job: OpenStackJob, collection: Collection[T]) -> Mapping[str, T]:
    """Return what holds the call's resource, if it is there at all."""
    sure = known_id(job.call)
    if sure is None or not _UUID.fullmatch(sure):
        return collection.listed(job)
    found = collection.find(sure, job)
    return {} if found is None else {sure: found}


def _only(call: Call, listing: Mapping[str, T], section: str) -> T:
    candidates = list(ids_of(call.properties, call.runtime_properties))
    for candidate in candidates:
        if candidate in listing:
            return listing[candidate]
    names = {*candidates, *names_of(call.properties, call.runtime_properties, section)}
    found = [thing for thing in listing.values() if thing.name and thing.name in names]
    if len(found) > 1:
        ids = ", ".join(sorted(thing.id for thing in found))
        raise NonRecoverableError(
            f"{call.instance} is known by the name {found[0].name!r} only, and {len(found)} have it: {ids}",
            hint="Give its id as 'resource_id'.",
        )
    if not found:
        shown = ", ".join(sorted(names)) or "nothing: neither 'resource_id' nor a name is given"
        raise ResourceNotFoundError(f"{call.instance}: no {section} found for {shown}")
    return found[0]


def _text(value: Json) -> Iterator[str]:
    if isinstance(value, str) and value:
        yield value

"""Removed points: kept aside, with all they need, until the grace is over; so long they can come back."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Final

from quiesce.errors import DamagedArtifactError, ObjectNotFoundError, ResourceNotFoundError
from quiesce.model.stored_object import ObjectName
from quiesce.repository.opened import OpenedRepository, fresh_name
from quiesce.repository.points import Point, PointKey, point_name
from quiesce.repository.session import WriterSession

REMOVED: Final = "removed"


@dataclass(frozen=True, slots=True, kw_only=True)
class RemovedPoint:
    """A point that was removed, and what has to be known to bring it back."""

    point: Point
    name: ObjectName
    #: by the storage's clock, in seconds since the epoch
    removed_at: float


def remove_point(opened: OpenedRepository, key: PointKey) -> bool:
    """Remove one point, kept aside first; return whether there was one. Safe to repeat.

    One that is damaged cannot come back, and is just deleted.
    """
    name = point_name(opened.keys, key)
    try:
        opened.put_sealed(fresh_name(REMOVED), opened.get_sealed(name))
    except ObjectNotFoundError:
        return False
    except DamagedArtifactError:
        pass
    opened.storage.delete(name)
    return True


def removed_points(
    opened: OpenedRepository, damaged: list[ObjectName] | None = None
) -> Iterator[RemovedPoint]:
    """Yield what was removed and is kept aside, in no order. What cannot be read goes into *damaged*."""
    times = {stored.name: stored.modified for stored in opened.storage.list(REMOVED)}
    for name, data in opened.sealed_below(REMOVED, damaged):
        if name in times:
            yield RemovedPoint(point=Point.parse(data), name=name, removed_at=times[name])


def bring_back(opened: OpenedRepository, keys: Iterable[PointKey], *, threads: int | None = None) -> int:
    """Let removed points be as they were, a deployment's own last; return how many.

    Raises:
        ResourceNotFoundError: nothing is kept aside of one of them; none was brought back then.
        DamagedArtifactError: something that one needs is gone.
        ForeignObjectError: another point has taken its name.
    """
    wanted = set(keys)
    kept: dict[PointKey, list[RemovedPoint]] = {}
    for removed in removed_points(opened, []):
        if removed.point.key in wanted:
            kept.setdefault(removed.point.key, []).append(removed)
    if missing := sorted(wanted - kept.keys()):
        raise ResourceNotFoundError(f"the repository keeps no removed point {missing[0]}")
    with WriterSession(opened, threads=threads) as session:
        for _, copies in sorted(kept.items(), key=lambda item: (not item[0].instance, item[0])):
            session.commit(max(copies, key=lambda removed: removed.removed_at).point)
            for removed in copies:
                opened.storage.delete(removed.name)
    return len(kept)

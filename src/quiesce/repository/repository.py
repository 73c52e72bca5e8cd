"""A repository: made, opened, written, read, checked, copied and cleaned up."""

from __future__ import annotations

import itertools
import json
import math
import os
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import Final

from quiesce.errors import (
    DamagedArtifactError,
    ForeignObjectError,
    ObjectNotFoundError,
    ResourceNotFoundError,
    UnreachableError,
    UsageError,
)
from quiesce.model.ids import Json
from quiesce.model.stored_object import ObjectName
from quiesce.ports.storage import Storage
from quiesce.repository.checking import KEYS, CheckRange, RepositoryChecked, RepositoryChecker
from quiesce.repository.collecting import Collected, Collector
from quiesce.repository.fetching import BlobFetcher
from quiesce.repository.index import PackId
from quiesce.repository.keys import Credential, Keys, WrappedKeys, no_key_fits
from quiesce.repository.needs import addresses_of
from quiesce.repository.opened import CONDEMNED, OpenedRepository, fresh_name, small_object
from quiesce.repository.points import POINTS, Point, PointKey, StoredPoints, point_name, siblings
from quiesce.repository.removing import RemovedPoint, bring_back, remove_point, removed_points
from quiesce.repository.restoring import PointReader
from quiesce.repository.session import WriterSession
from quiesce.repository.storing import StoredFigures
from quiesce.repository.verifying import PointsVerified, PointVerifier

CONFIG: Final = ObjectName("config")
_FORMAT: Final = "quiesce-repository"
_VERSION: Final = 1
_DAY_S: Final = 86400.0
#: no more keys are tried: each costs work, and who made them is known only when one fits
_MOST_KEYS: Final = 64
_DAMAGED: Final = "it is not what was written there"
_ABSENT: Final = "it is not there"


def _nobody(_read_bytes: int) -> None:
    """Tell nobody."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RepositoryKey:
    """One of the credentials that open a repository, as far as it can be told."""

    id: str
    kind: str
    label: str
    #: why it opens nothing; empty: it is what was written
    damage: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class RepositoryFigures:
    """How much is in a repository."""

    points: int
    #: of which nobody can tell what they were
    damaged_points: int
    #: of everything restored, point by point
    restored_bytes: int
    #: points that were removed and can still come back
    removed_points: int
    blobs: int
    packs: int
    #: as it lies there
    stored_bytes: int
    #: what the points of each deployment are when they are restored
    by_deployment: dict[str, int]


@dataclass(slots=True, kw_only=True)
class PointsCopied:
    """What became of points that were to be copied."""

    points: list[PointKey] = field(default_factory=list)
    #: how many points there were before, whichever were to be copied
    there: int = 0
    #: what is wrong with those that were left out
    damages: dict[PointKey, str] = field(default_factory=dict)
    figures: StoredFigures = field(default_factory=StoredFigures)

    def require_whole(self, point: Point) -> None:
        """Let a deployment's point pass when none of its instances' was left out.

        Raises:
            DamagedArtifactError: when one was.
        """
        lost = [str(key) for key in siblings(point) if point.instances and key in self.damages]
        if lost:
            raise DamagedArtifactError(f"it needs what is damaged: {', '.join(lost)}")


@dataclass(frozen=True, slots=True, kw_only=True)
class IndexRebuilt:
    """What the indexes of a repository did not tell, and tell now."""

    #: packs of which no index told
    packs: int
    #: indexes that could not be read, and are deleted
    damaged_indexes: int
    #: packs of which nobody can tell what they hold
    damaged_packs: tuple[ObjectName, ...]


class Repository:
    """Points of any number of deployments, encrypted, in one storage. See ``docs/repository-format.md``."""

    def __init__(self, opened: OpenedRepository) -> None:
        """Use what `create` and `open` return instead."""
        self._opened = opened

    @classmethod
    def create(
        cls,
        storage: Storage,
        credential: Credential,
        *,
        label: str = "",
        addressing: bytes | None = None,
        grace_s: float = _DAY_S,
    ) -> Repository:
        """Make a repository where none is; with the *addressing* of another, points fit both.

        Raises:
            ForeignObjectError: when there is one, or something else.
        """
        storage.prepare()
        others = (stored.name for stored in storage.list() if not stored.name.startswith(f"{KEYS}/"))
        if (other := next(others, None)) is not None:
            what = "a repository" if other == CONFIG else f"something else ({other})"
            raise ForeignObjectError(
                f"{storage.location} holds {what} already", hint="Choose an empty place."
            )
        keys = Keys.new(addressing)
        made = cls(OpenedRepository(storage=storage, keys=keys, grace_s=grace_s))
        made.add_key(credential, label=label)
        storage.put(CONFIG, _config(keys, grace_s), exclusive=True)
        return made

    @classmethod
    def open(
        cls,
        storage: Storage,
        credentials: Iterable[Credential],
        *,
        clock: Callable[[], float] = time.time,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> Repository:
        """Open the repository that is there with the first of *credentials* that fits.

        Raises:
            UnreachableError: there is none: not mounted, or another place is meant.
            WrongKeyError: no credential fits.
            DamagedArtifactError: it was changed by somebody without the key.
        """
        config = _config_in(storage)
        repository, grace_s = _read_config(config)
        keys = _opened_keys(storage, repository, list(credentials))
        _require_authentic(keys, config, grace_s)
        return cls(
            OpenedRepository(storage=storage, keys=keys, grace_s=grace_s, clock=clock, monotonic=monotonic)
        )

    @staticmethod
    def id_in(storage: Storage) -> str:
        """Return which repository is in *storage*, as it says itself: no key is needed, nothing is proven.

        Raises:
            UnreachableError: there is none: not mounted, or another place is meant.
            DamagedArtifactError: what says so is not what was written.
        """
        return _read_config(_config_in(storage))[0].hex()

    @property
    def id(self) -> str:
        """What tells it from any other repository; no secret."""
        return self._opened.keys.repository.hex()

    @property
    def location(self) -> str:
        """Where it lies, for people."""
        return self._opened.storage.location

    @property
    def grace_s(self) -> float:
        """For how many seconds what nobody needs is kept."""
        return self._opened.grace_s

    @property
    def addressing(self) -> bytes:
        """The key of its addresses: a secret, equal for repositories between which points are copied."""
        return self._opened.keys.addressing

    def write(self, *, threads: int | None = None) -> WriterSession:
        """Begin to write; close what is returned."""
        return WriterSession(self._opened, threads=threads)

    def points(self) -> Iterator[Point]:
        """Yield all points, in no order.

        Raises:
            DamagedArtifactError: when one cannot be read; see `stored_points`.
        """
        for _, data in self._opened.sealed_below(POINTS):
            yield Point.parse(data)

    def stored_points(self, known: Iterable[PointKey] = ()) -> StoredPoints:
        """Return all points, and what is damaged of them: which that was is told where it can be told.

        *known* are keys of points that there may be, beside those that the others tell of.
        """
        damaged: list[ObjectName] = []
        points = [Point.parse(data) for _, data in self._opened.sealed_below(POINTS, damaged)]
        keys = {*known, *itertools.chain.from_iterable(map(siblings, points))} if damaged else set()
        names = {point_name(self._opened.keys, key): key for key in keys}
        return StoredPoints(points=tuple(points), damaged={name: names.get(name) for name in damaged})

    def point(self, key: PointKey) -> Point:
        """Return one point.

        Raises:
            ResourceNotFoundError: there is none of that name.
        """
        try:
            point = Point.parse(self._opened.get_sealed(point_name(self._opened.keys, key)))
        except ObjectNotFoundError:
            raise ResourceNotFoundError(f"the repository has no point {key}") from None
        if point.key != key:
            raise DamagedArtifactError(f"the point {key} is another one: {point.key}")
        return point

    def read(self, *keys: PointKey, threads: int | None = None) -> Iterator[PointReader]:
        """Yield a reader of each point."""
        fetcher = BlobFetcher(self._opened, self._opened.load_index())
        for key in keys:
            yield PointReader(fetcher, self.point(key), threads=threads)

    def reader(self, key: PointKey, *, threads: int | None = None) -> PointReader:
        """Return a reader of one point."""
        return next(self.read(key, threads=threads))

    def put(self, point: Point) -> None:
        """Make a point durable that needs nothing, in place of what has its name."""
        if point.items:
            raise ValueError(f"{point.key} needs what a writer stores")
        self._opened.put_sealed(point_name(self._opened.keys, point.key), point.as_bytes())

    def remove(self, key: PointKey) -> bool:
        """Remove one point, in whatever order; tell whether it was there. Room is made by `collect`.

        Until the grace is over it is kept aside, and `bring_back` undoes it.
        """
        return remove_point(self._opened, key)

    def remove_damaged(self, name: ObjectName) -> bool:
        """Delete what lies where a point was, when it is damaged; tell whether it was."""
        try:
            self._opened.get_sealed(name)
        except DamagedArtifactError:
            self._opened.storage.delete(name)
            return True
        except ObjectNotFoundError:
            pass
        return False

    def removed(self) -> Iterator[RemovedPoint]:
        """Yield the points that were removed and can still come back, in no order; no damaged ones."""
        return removed_points(self._opened, [])

    def bring_back(self, keys: Iterable[PointKey], *, threads: int | None = None) -> int:
        """Undo the removal of points, all that are named or none; see `removing.bring_back`."""
        return bring_back(self._opened, keys, threads=threads)

    def verify(self, keys: Iterable[PointKey], progress: Callable[[int], None] = _nobody) -> PointsVerified:
        """Read and authenticate all that some points need; *progress* hears how many bytes were read."""
        return PointVerifier(self._opened, progress).run(keys)

    def condemn(self, packs: Iterable[PackId]) -> None:
        """Let nobody who begins to write rely on *packs*: what is needed of them is stored anew.

        They are collected as any other that is condemned: when nothing is needed of them any more.
        """
        if data := b"".join(sorted(packs)):
            self._opened.put_sealed(fresh_name(CONDEMNED), data)

    def only_needed_by(self, keys: Iterable[PointKey]) -> int:
        """Return how many stored bytes nobody would need if these points were not there."""
        index, gone = self._opened.load_index(), set(keys)
        fetcher = BlobFetcher(self._opened, index)
        needed: dict[bool, set[bytes]] = {True: set(), False: set()}
        looked: dict[bool, set[bytes]] = {True: set(), False: set()}
        for point in self.points():
            goes = point.key in gone
            needed[goes].update(addresses_of(fetcher, point, looked[goes]))
        alone = needed[True] - needed[False]
        return sum(place.length for place in map(index.find, alone) if place is not None)

    def absent(self, points: Iterable[Point]) -> dict[PointKey, str]:
        """Return what is wrong with those of *points* that need what is in no pack that is there.

        Lists of content are read, no content.
        """
        index, lost = self._opened.load_index(), dict[PointKey, str]()
        fetcher = BlobFetcher(self._opened, index)
        for point in points:
            try:
                needed = addresses_of(fetcher, point)
                missing = next((each for each in needed if index.find(each) is None), None)
            except DamagedArtifactError as error:
                lost[point.key] = str(error)
                continue
            if missing is not None:
                lost[point.key] = f"the blob {missing.hex()} is in no pack that is there"
        return lost

    def is_untouched(self, keys: Iterable[PointKey], since: float) -> bool:
        """Tell whether nothing that *keys* need was put after *since*, by the storage's clock, or is gone."""
        index = self._opened.load_index()
        fetcher, times = BlobFetcher(self._opened, index), dict[PackId | None, float]()
        times |= {pack: found.modified for pack, found in self._opened.stored_packs().items()}
        try:
            for key in keys:
                stored = self._opened.storage.stat(point_name(self._opened.keys, key))
                placed = map(index.find, addresses_of(fetcher, self.point(key)))
                needed = {place.pack if place is not None else None for place in placed}
                if stored.modified > since or any(times.get(pack, math.inf) > since for pack in needed):
                    return False
        except (DamagedArtifactError, ResourceNotFoundError, ObjectNotFoundError):
            return False
        return True

    def collect(self, *, simulate: bool = False, most_waste: float = 0.25) -> Collected:
        """Delete what no point needs, when its grace is over; see `Collector`."""
        return Collector(self._opened, most_waste=most_waste).run(simulate=simulate)

    def check(self, reading: CheckRange | None = None) -> RepositoryChecked:
        """Check that all is there, and with *reading* that it is what was written."""
        return RepositoryChecker(self._opened).run(reading)

    def rebuild_index(self) -> IndexRebuilt:
        """Tell anew what those packs hold of which no index tells, and delete damaged indexes."""
        opened, indexes, packs = self._opened, list[ObjectName](), list[ObjectName]()
        index = opened.read_indexes(indexes)
        found = list(opened.untold(index, opened.stored_packs(), packs))
        if found:
            opened.put_index(found)
        return IndexRebuilt(
            packs=len(found), damaged_indexes=opened.delete_unlocked(indexes), damaged_packs=tuple(packs)
        )

    def copy_to(self, other: Repository, keys: Iterable[PointKey] | None = None) -> PointsCopied:
        """Copy points to a repository that was created like this one; those that are there are left out.

        What is damaged is left out and told; so is the point of a deployment of which an instance's is.

        Raises:
            UsageError: when it was not.
        """
        if self.addressing != other.addressing:
            raise UsageError(
                "the two repositories address their content differently",
                hint="Create the one to copy to like the other, so that points fit both.",
            )
        # what is damaged there is not: it is copied anew
        there, found = {point.key for point in other.stored_points().points}, self.stored_points()
        wanted = set(found.keys if keys is None else keys) - there
        damages = dict.fromkeys(wanted - set(found.keys), _ABSENT)
        damages |= {key: _DAMAGED for key in found.damaged.values() if key in wanted}
        copied = PointsCopied(there=len(there), damages=damages)
        fetcher = BlobFetcher(self._opened, self._opened.load_index())
        chosen = [point for point in found.points if point.key in wanted]
        # a deployment's own point is the last of its points
        chosen.sort(key=lambda point: (point.made_at, not point.key.instance))
        with other.write() as session:
            for point in chosen:
                try:
                    copied.require_whole(point)
                    session.take_over(addresses_of(fetcher, point), fetcher)
                    session.commit(point)
                    copied.points.append(point.key)
                except DamagedArtifactError as error:
                    copied.damages[point.key] = str(error)
            copied.figures = session.figures
        return copied

    def statistics(self) -> RepositoryFigures:
        """Return how much is stored."""
        stored, packs = self.stored_points(), self._opened.stored_packs()
        points = stored.points
        by_deployment: dict[str, int] = {}
        for point in points:
            name = point.key.deployment
            by_deployment[name] = by_deployment.get(name, 0) + point.size_bytes
        return RepositoryFigures(
            points=len(points),
            damaged_points=len(stored.damaged),
            restored_bytes=sum(by_deployment.values()),
            removed_points=sum(1 for _ in self.removed()),
            blobs=len(self._opened.load_index()),
            packs=len(packs),
            stored_bytes=sum(stored.size_bytes for stored in self._opened.storage.list()),
            by_deployment=by_deployment,
        )

    def credentials(self) -> Iterator[RepositoryKey]:
        """Yield the credentials that open it, and what is damaged of them."""
        for stored in self._opened.storage.list(KEYS):
            if stored.name.startswith(self._key_name("")):
                yield self._credential(stored.name)

    def _credential(self, name: ObjectName) -> RepositoryKey:
        id_ = name.rpartition("-")[2]
        try:
            wrapped = WrappedKeys.parse(small_object(self._opened.storage, name))
        except DamagedArtifactError as error:
            return RepositoryKey(id=id_, kind="", label="", damage=str(error))
        damage = "" if wrapped.is_authentic(self._opened.keys) else _DAMAGED
        return RepositoryKey(id=id_, kind=wrapped.kind, label=wrapped.label, damage=damage)

    def add_key(self, credential: Credential, *, label: str = "") -> str:
        """Let one more credential open it; return its id. No data are written anew."""
        wrapped = WrappedKeys.of(self._opened.keys, credential, label)
        id_ = os.urandom(8).hex()
        self._opened.storage.put(self._key_name(id_), wrapped.as_bytes(), exclusive=True)
        return id_

    def remove_key(self, id_: str) -> None:
        """Let a credential open it no more; the last one stays. Who copied it before can still use it.

        Raises:
            UsageError: when it is the last one, or there is none of that id.
        """
        keys = {key.id: key for key in self.credentials()}
        if id_ not in keys:
            raise UsageError(f"{id_!r} is none of {[*keys]}")
        if not any(not key.damage for key in keys.values() if key.id != id_):
            raise UsageError(f"{id_!r} is the last key")
        self._opened.storage.delete(self._key_name(id_))

    def _key_name(self, id_: str) -> ObjectName:
        return ObjectName(f"{KEYS}/{self._opened.keys.repository.hex()}-{id_}")


def _config_in(storage: Storage) -> bytes:
    try:
        return small_object(storage, CONFIG)
    except ObjectNotFoundError:
        raise UnreachableError(
            f"{storage.location} holds no repository, so it may not be mounted",
            hint="Mount it, or make a repository there: quiesce repository init",
        ) from None


def _config(keys: Keys, grace_s: float) -> bytes:
    body: dict[str, Json] = {
        "format": _FORMAT,
        "version": _VERSION,
        "id": keys.repository.hex(),
        "grace_s": grace_s,
    }
    return json.dumps({**body, "mac": keys.mac(json.dumps(body).encode())}).encode() + b"\n"


def _read_config(data: bytes) -> tuple[bytes, float]:
    try:
        body = json.loads(data)
        if body["format"] != _FORMAT:
            raise ValueError(f"it is {body['format']}")
        if body["version"] != _VERSION:
            raise UsageError(f"the repository has version {body['version']}; this quiesce knows {_VERSION}")
        return bytes.fromhex(body["id"]), float(body["grace_s"])
    except (ValueError, KeyError, TypeError, OverflowError, RecursionError) as error:
        raise DamagedArtifactError(f"the mark of the repository ({CONFIG}) is damaged: {error}") from error


def _require_authentic(keys: Keys, config: bytes, grace_s: float) -> None:
    if config != _config(keys, grace_s):
        raise DamagedArtifactError(f"the mark of the repository ({CONFIG}) was changed without its key")


def _opened_keys(storage: Storage, repository: bytes, credentials: list[Credential]) -> Keys:
    ours = [
        stored.name for stored in storage.list(KEYS) if stored.name.startswith(f"{KEYS}/{repository.hex()}-")
    ]
    for name in sorted(ours)[:_MOST_KEYS]:
        try:
            wrapped = WrappedKeys.parse(small_object(storage, name))
        except DamagedArtifactError:
            continue  # another one may fit
        for credential in credentials:
            keys = wrapped.open(repository, credential)
            if keys is not None:
                return keys
    raise no_key_fits(storage.location)

"""What this ``QUIESCE_HOME`` has seen in a repository, and what of it is gone or another one now.

Nothing within a repository tells that a whole point was deleted, by somebody who may delete there; nor that a
key was added by somebody who has one. So what was seen is remembered where that somebody cannot write.
"""

from __future__ import annotations

import hashlib
import json
import threading
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from quiesce.errors import DamagedArtifactError
from quiesce.files.durable import make_private_directory, storage_errors, write_durably
from quiesce.files.reading import read_regular
from quiesce.repository import PointKey, Repository

_FORMAT: Final = "quiesce-seen-1"
_MOST_BYTES: Final = 1 << 30
#: instances of a restore point are removed side by side
_FORGETTING: Final = threading.Lock()


@dataclass(frozen=True, slots=True, kw_only=True)
class SeenRepository:
    """Points and keys of a repository at one moment: a digest of each."""

    points: Mapping[str, str]
    keys: Mapping[str, str]
    #: points that are not what was written; by the object's name where nothing tells which point it was
    damaged: frozenset[str] = frozenset()

    @classmethod
    def now(cls, repository: Repository, before: SeenRepository | None = None) -> SeenRepository:
        """Return what is there; a damaged point that was seen *before* is known by its name."""
        seen = [] if before is None else map(_key_named, before.points)
        stored = repository.stored_points(seen)
        return cls(
            points={str(point.key): _digest(point.as_bytes()) for point in stored.points},
            keys=_keys_of(repository),
            damaged=frozenset(stored.damaged_names),
        )

    def differences(self, now: SeenRepository, removed: Collection[str] = ()) -> list[str]:
        """Return what of this is gone or another one now, and which keys have come.

        What is in *removed* can still be brought back.
        """
        return [
            *(
                f"the point {name} {_gone(name, removed)}"
                for name in sorted(self.points.keys() - now.points.keys() - now.damaged)
            ),
            *(f"the point {name} is damaged" for name in sorted(now.damaged)),
            *(f"the point {name} is another one" for name in _changed(self.points, now.points)),
            *(f"the key {id_} ({self.keys[id_]}) is gone" for id_ in sorted(self.keys.keys() - now.keys)),
            *(f"the key {id_} is another one" for id_ in _changed(self.keys, now.keys)),
            *(f"the key {id_} ({now.keys[id_]}) was added" for id_ in sorted(now.keys.keys() - self.keys)),
        ]

    def with_new_points(self, now: SeenRepository) -> SeenRepository:
        """Return this, and the points that have come since."""
        return SeenRepository(points={**now.points, **self.points}, keys=self.keys)


@dataclass(frozen=True, slots=True, kw_only=True)
class TamperCheck:
    """What has become of what was seen."""

    #: whether anything had been seen before
    known_before: bool
    problems: tuple[str, ...]
    #: how many points are remembered from now on
    remembered: int


class SeenRepositories:
    """Remembers them, each in a private file."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory

    def recall(self, repository: Repository) -> SeenRepository | None:
        """Return what was seen of it; None: nothing yet.

        Raises:
            DamagedArtifactError: when the file is not what was written.
        """
        path = self._path(repository)
        if not path.exists():
            return None
        try:
            with storage_errors(f"read {path}"):
                body = json.loads(read_regular(path, at_most=_MOST_BYTES))
            if body["format"] != _FORMAT:
                raise ValueError(f"it is {body['format']}")
            return SeenRepository(points=dict(body["points"]), keys=dict(body["keys"]))
        except (ValueError, KeyError, TypeError, RecursionError) as error:
            raise DamagedArtifactError(f"{path} cannot be read: {error}") from error

    def remember(self, repository: Repository, seen: SeenRepository) -> None:
        """Note what was seen of it, instead of what was noted before."""
        path = self._path(repository)
        body = {"format": _FORMAT, "points": dict(seen.points), "keys": dict(seen.keys)}
        with storage_errors(f"write {path}"):
            make_private_directory(self._directory)
            write_durably(path, json.dumps(body, indent=1, sort_keys=True).encode())

    def check(self, repository: Repository, *, accept: bool = False) -> TamperCheck:
        """Compare what is there with what was seen, and remember what is new; all of it with *accept*."""
        before = self.recall(repository)
        now = SeenRepository.now(repository, before)
        removed = {str(each.point.key) for each in repository.removed()}
        problems = (before or SeenRepository(points={}, keys=now.keys)).differences(now, removed)
        kept = now if before is None or accept else before.with_new_points(now)
        self.remember(repository, kept)
        return TamperCheck(
            known_before=before is not None,
            problems=() if accept else tuple(problems),
            remembered=len(kept.points),
        )

    def forget_points(self, repository: Repository, keys: Iterable[PointKey]) -> None:
        """Note that some points were removed from here. Safe from many threads."""
        gone = set(map(str, keys))
        with _FORGETTING:
            seen = self.recall(repository)
            if seen is not None and gone & seen.points.keys():
                points = {name: digest for name, digest in seen.points.items() if name not in gone}
                self.remember(repository, SeenRepository(points=points, keys=seen.keys))

    def note_keys(self, repository: Repository) -> None:
        """Note that keys were added or removed from here."""
        seen = self.recall(repository)
        if seen is not None:
            self.remember(repository, SeenRepository(points=seen.points, keys=_keys_of(repository)))

    def _path(self, repository: Repository) -> Path:
        return self._directory / f"{repository.id}.json"


def _keys_of(repository: Repository) -> Mapping[str, str]:
    return {key.id: key.damage or f"{key.kind} {key.label}" for key in repository.credentials()}


def _key_named(name: str) -> PointKey:
    deployment, point, *instance = name.split("/", 2)
    return PointKey(deployment=deployment, point=point, instance="".join(instance))


def _gone(name: str, removed: Collection[str]) -> str:
    return "was removed, and can be brought back" if name in removed else "is gone"


def _changed(before: Mapping[str, str], now: Mapping[str, str]) -> list[str]:
    return sorted(name for name in before.keys() & now if before[name] != now[name])


def _digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()

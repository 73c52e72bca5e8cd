"""The objects of a directory repository, seen and spoilt from outside."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from quiesce.backups import KEYS_FILE, BackupHome, Keyring
from quiesce.ports import ProviderSettings
from quiesce.ports.providers import no_secret
from quiesce.repository import Point, PointKey, Repository
from quiesce.repository.packs import pack_name
from quiesce.repository.points import point_name


def packs(root: Path) -> list[Path]:
    """Return the files that hold content."""
    return sorted(path for path in (root / "packs").rglob("*") if path.is_file())


def points(root: Path) -> list[Path]:
    """Return the files of points."""
    return sorted((root / "points").iterdir()) if (root / "points").is_dir() else []


def spoil(paths: Iterable[Path]) -> None:
    """Change every byte in the middle third of each file."""
    for path in paths:
        data = bytearray(path.read_bytes())
        third = len(data) // 3
        data[third : 2 * third + 1] = bytes(byte ^ 0xFF for byte in data[third : 2 * third + 1])
        path.chmod(0o600)
        path.write_bytes(data)


def cut_off(paths: Iterable[Path]) -> None:
    """Let half of each file be missing."""
    for path in paths:
        path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def left_in(root: Path, drafts: Path) -> list[Path]:
    """Return what is there of backups, complete or begun, but content, which is nobody's own."""
    return [*points(root), *(sorted(drafts.iterdir()) if drafts.is_dir() else ())]


def plant_foreign(settings: ProviderSettings, point: str, instance: str) -> None:
    """Put something else where a test of the contract is going to make a backup."""
    key = PointKey(deployment="contract", point=point, instance=instance)
    home = BackupHome.of(settings)
    with home.opened_or_made(settings.repository) as repository, repository.write() as session:
        session.commit(Point(key=key, made_at=0.0, items={"thesis": session.add_stream([b"theirs"])}))


@contextmanager
def opened(home: Path, root: Path) -> Iterator[Repository]:
    """Hold the repository in *root* open with the keys of *home*."""
    ours = BackupHome(keyring=Keyring(home / KEYS_FILE), secret=no_secret, drafts=home / "drafts")
    with ours.opened(str(root)) as repository:
        yield repository


def point_object(home: Path, root: Path, name: str) -> Path:
    """Return where a point lies: ``deployment/point``, or ``deployment/point/instance``."""
    with opened(home, root) as repository:
        return root / point_name(repository._opened.keys, _key(name))


def flip_content(home: Path, root: Path, name: str) -> None:
    """Change one byte of what only that point needs: the list of what its first item consists of."""
    with opened(home, root) as repository:
        item = next(iter(repository.point(_key(name)).items.values()))
        place = repository._opened.load_index().find(item.root)
    assert place is not None
    path = root / pack_name(place.pack)
    data = bytearray(path.read_bytes())
    data[place.offset + place.length // 2] ^= 1
    path.write_bytes(data)


def _key(name: str) -> PointKey:
    deployment, point, *instance = name.split("/")
    return PointKey(deployment=deployment, point=point, instance="".join(instance))

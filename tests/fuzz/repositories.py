"""What lies in a repository and in its storage: objects as they are, and as somebody with its key wrote them."""

from __future__ import annotations

import contextlib
import os
import shutil
import struct
import subprocess
import tempfile
from pathlib import Path
from typing import Any, Final
from unittest import mock

from quiesce.backups import Keyring
from quiesce.backups.keyring import _written
from quiesce.errors import QuiesceError
from quiesce.files.descriptors import DIRECTORY
from quiesce.model.stored_object import ObjectName
from quiesce.repository import CheckRange, FileKey, Passphrase, Point, PointKey, Repository
from quiesce.repository.index import PackListing
from quiesce.repository.keys import Keys, WrappedKeys
from quiesce.repository.packs import PackDraft, pack_of
from quiesce.repository.points import point_name
from quiesce.repository.restoring import PointReader
from quiesce.repository.trees import read_root, read_segment
from quiesce.storage import MemoryStorage
from quiesce.storage.directory import DirectoryStorage
from quiesce.storage.urls import StorageUrl, parse_url
from tests.fuzz.parsing import Parser, scratch

KEY: Final = FileKey(b"k" * 32)
_POINT: Final = PointKey(deployment="shop", point="one", instance="db_1")


class _Example:
    """A small repository with a tree and a stream, of which any object can be replaced."""

    def __init__(self) -> None:
        self.storage = MemoryStorage()
        made = Repository.create(self.storage, KEY)
        with tempfile.TemporaryDirectory() as directory:
            self._fill(made, Path(directory) / "tree")
        self.made = made
        self.opened = made._opened
        self.objects = dict(self.storage._objects)
        reader = made.reader(_POINT, threads=1)
        self.fetcher = reader._fetcher
        self.point = reader.point
        (self.pack,) = (name for name in self.objects if name.startswith("packs/"))
        (self.index,) = (name for name in self.objects if name.startswith("index/"))
        (self.keys,) = (name for name in self.objects if name.startswith("keys/"))
        self.root = self.fetcher.get(self.point.items["data"].root)
        (segment,) = read_root(self.root)
        self.segment = segment.address

    @staticmethod
    def _fill(made: Repository, root: Path) -> None:
        (root / "sub").mkdir(parents=True)
        (root / "file").write_bytes(b"content" * 30)
        (root / "link").symlink_to("../outside")
        os.link(root / "file", root / "sub/second")
        os.mkfifo(root / "pipe")
        descriptor = os.open(root, DIRECTORY)
        with made.write(threads=1) as session:
            tree, _ = session.add_tree(descriptor)
            stream = session.add_stream([b"streamed" * 100])
            session.commit(Point(key=_POINT, made_at=1.0, items={"data": tree, "log": stream}))
        os.close(descriptor)

    def with_object(self, name: ObjectName, data: bytes) -> Repository:
        """Return the repository with *data* in the place of one object."""
        self.storage._objects = {**self.objects, name: (data, 1.0)}
        return self.made

    def sealed(self, name: ObjectName, plain: bytes) -> bytes:
        """Return *plain* as somebody with the key would have stored it."""
        return self.opened.objects.seal(name, plain)

    def plain(self, name: ObjectName) -> bytes:
        return self.opened.objects.open(name, self.objects[name][0])


_SCENE: Final = _Example()


def _read(repository: Repository) -> None:
    """Do with a repository what a restore does."""
    for ask in (
        lambda: b"".join(repository.reader(_POINT, threads=1).read("log")),
        lambda: list(repository.reader(_POINT, threads=1).entries("data")),
    ):
        with contextlib.suppress(QuiesceError):
            ask()


def _parse_point(data: bytes) -> None:
    scene = _SCENE
    name = point_name(scene.opened.keys, _POINT)
    for stored in (data, scene.sealed(name, data)):
        repository = scene.with_object(name, stored)
        _read(repository)
        with contextlib.suppress(QuiesceError):
            {point.key: point.size_bytes for point in repository.points()}


def _parse_index(data: bytes) -> None:
    scene = _SCENE
    for stored in (data, scene.sealed(scene.index, data)):
        repository = scene.with_object(scene.index, stored)
        _read(repository)
        with contextlib.suppress(QuiesceError):
            repository.check(CheckRange())


def _parse_pack(data: bytes) -> None:
    """As a pack that is there, and as one that no index knows."""
    scene = _SCENE
    pack = pack_of(scene.pack)
    assert pack is not None
    trailer = scene.sealed(scene.pack, data)
    of_ours = data + trailer + struct.pack("<I8s", len(trailer), b"quiesceP")
    for stored in (data, of_ours):
        repository = scene.with_object(scene.pack, stored)
        _read(repository)
        with contextlib.suppress(QuiesceError):
            repository.check(CheckRange())
        del scene.storage._objects[scene.index]
        with contextlib.suppress(QuiesceError):
            repository.rebuild_index()


def _parse_keys(data: bytes) -> None:
    """As the mark of the repository, and as a key of it: nobody has proven anything yet."""
    scene = _SCENE
    for name in (ObjectName("config"), scene.keys):
        scene.with_object(name, data)
        with contextlib.suppress(QuiesceError):
            Repository.open(scene.storage, [Passphrase("wrong"), KEY])
    with contextlib.suppress(QuiesceError):
        FileKey.of_text(data.decode(errors="replace"))


def _parse_tree(data: bytes) -> None:
    """As the list of a tree, and as a piece of it; restored into a place that nothing may leave."""
    scene = _SCENE
    for address in (scene.point.items["data"].root, scene.segment):
        _restored(scene, {address: data})


def _restored(scene: _Example, replaced: dict[bytes, bytes]) -> None:
    place, outside = scratch() / "place", scratch() / "outside"
    _clear(place)
    place.mkdir()
    outside.mkdir(exist_ok=True)
    scene.storage._objects = dict(scene.objects)
    descriptor = os.open(place, DIRECTORY)
    try:
        reader = PointReader(_Replacing(scene, replaced), scene.point, threads=1)  # type: ignore[arg-type]
        with contextlib.suppress(QuiesceError):
            reader.restore_tree("data", descriptor)
        with contextlib.suppress(QuiesceError):
            list(read_segment(next(iter(replaced.values()))))
    except OSError as error:
        if error.errno is None:
            raise
    finally:
        os.close(descriptor)
        _clear(place)
        place.mkdir()
        assert os.listdir(outside) == []
        assert set(os.listdir(scratch())) == {"place", "outside"}


def _clear(place: Path) -> None:
    """Remove what was restored, of which root may have made something immutable, as it was when it was saved."""
    try:
        shutil.rmtree(place)
    except FileNotFoundError:
        pass
    except OSError:
        subprocess.run(["chattr", "-R", "-i", "-a", place], capture_output=True, check=False)
        shutil.rmtree(place, ignore_errors=True)


class _Replacing:
    """Fetches blobs, some of which are others."""

    def __init__(self, scene: _Example, replaced: dict[bytes, bytes]) -> None:
        self._fetcher = scene.fetcher
        self._replaced = replaced

    def get(self, address: bytes) -> bytes:
        return self._replaced.get(address) or self._fetcher.get(address)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._fetcher, name)


# -- listings --


def _parse_listing(data: bytes) -> None:
    """Names in a directory that others can write to: files, folders, links, pipes."""
    root, precious = scratch() / "storage", scratch() / "precious"
    shutil.rmtree(root, ignore_errors=True)
    root.mkdir()
    precious.write_text("of somebody else")
    for line in data.split(b"\n")[:32]:
        _put(os.fsencode(root), line[:1], line[1:], precious)
    storage = DirectoryStorage(root)
    try:
        with contextlib.suppress(QuiesceError):
            for stored in storage.list():
                storage.get(stored.name)
        for ask in (
            storage.remove_unfinished,
            lambda: Repository.open(storage, [KEY]),
            lambda: Repository.create(storage, KEY),
        ):
            with contextlib.suppress(QuiesceError):
                ask()  # type: ignore[operator]
    finally:
        storage.close()
        assert precious.read_text() == "of somebody else"
        precious.unlink()


#: deeper ones cannot even be removed by the standard library
_DEEPEST = 200


def _put(root: bytes, kind: bytes, name: bytes, precious: Path) -> None:
    parts = [part for part in name.replace(b"\0", b"").split(b"/") if part not in (b"", b".", b"..")]
    path = os.path.join(root, *parts[:_DEEPEST])  # never outside, however often a piece was repeated
    with contextlib.suppress(OSError, ValueError):
        os.makedirs(os.path.dirname(path), exist_ok=True)
        match kind:
            case b"d":
                os.mkdir(path)
            case b"l":
                os.symlink(os.fsencode(precious), path)
            case b"p":
                os.mkfifo(path)
            case _ if not os.path.lexists(path):
                Path(os.fsdecode(path)).write_bytes(name)


class _Server:
    """The far side of an SFTP session that has said everything that it will say."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self.closed = False

    def recv(self, size: int) -> bytes:
        given, self._data = self._data[:size], self._data[size:]
        return given

    def send(self, data: bytes) -> int:
        return len(data)

    def get_transport(self) -> _Server:
        return self

    open_session = set_keepalive = settimeout = invoke_subsystem = lambda self, *_, **__: self

    def is_active(self) -> bool:
        return not self.closed

    def get_name(self) -> str:
        return "far side"

    def close(self) -> None:
        self.closed = True


def _parse_sftp(data: bytes) -> None:
    from quiesce.storage.sftp import SftpStorage

    url = parse_url("sftp://h/srv/repository")
    for ask in (
        lambda storage: list(storage.list()),
        lambda storage: storage.get(ObjectName("config")),
        lambda storage: storage.stat(ObjectName("config")),
        lambda storage: storage.put(ObjectName("config"), b"data", exclusive=True),
        lambda storage: storage.remove_unfinished(),
        lambda storage: storage.delete(ObjectName("config")),
    ):
        storage = SftpStorage(url, _login(url, data))
        with contextlib.suppress(QuiesceError):
            ask(storage)
        storage.close()


def _login(url: StorageUrl, data: bytes) -> Any:
    """Return what begins a session as the real login does, on a server that says *data*."""
    from quiesce.storage.sftp_login import SftpLogin

    client = mock.Mock()

    def log_in() -> Any:
        client.get_transport.return_value = _Server(data)
        return SftpLogin(url, None)._session(client)

    return log_in


def _packet(kind: int, *parts: bytes | int) -> bytes:
    body = b"".join(
        struct.pack(">I", part) if isinstance(part, int) else struct.pack(">I", len(part)) + part
        for part in parts
    )
    return struct.pack(">IB", len(body) + 1, kind) + body


_HELLO: Final = _packet(2, 3, b"posix-rename@openssh.com", b"1", b"hardlink@openssh.com", b"1")


def _a_listing() -> bytes:
    """Return what a server says to a listing: the directory's attributes, a handle, names, the end."""
    attributes = struct.pack(">IQIII", 1 | 4 | 8, 9, 0o040700, 1, 1)
    of_directory = struct.pack(">IBI", len(attributes) + 5, 105, 1) + attributes
    of_file = struct.pack(">IQIII", 1 | 4 | 8, 9, 0o100600, 1, 1)
    entries = b"".join(
        struct.pack(">I", len(name)) + name + struct.pack(">I", 1) + b"-" + of_file
        for name in (b"config", b"keys", b".hidden")
    )
    names = struct.pack(">II", 3, 3) + entries
    return b"".join(
        (
            _HELLO,
            of_directory,
            _packet(102, 2, b"handle"),
            struct.pack(">IB", len(names) + 1, 104) + names,
            _packet(101, 4, 1, b"end", b""),
            _packet(101, 5, 0, b"ok", b""),
        )
    )


def _a_file() -> bytes:
    """Return what a server says to the reading of a small file."""
    attributes = struct.pack(">IQIII", 1 | 4 | 8, 4, 0o100600, 1, 1)
    return b"".join(
        (
            _HELLO,
            _packet(102, 1, b"handle"),
            struct.pack(">IBI", len(attributes) + 5, 105, 2) + attributes,
            _packet(103, 3, b"data"),
            _packet(101, 4, 0, b"ok", b""),
        )
    )


# -- keys of this machine --


def _parse_keyring(data: bytes) -> None:
    """An export of keys that is brought back, and a file of keys."""
    path = scratch() / "repository.keys"
    path.unlink(missing_ok=True)
    with contextlib.suppress(QuiesceError):
        Keyring(path).add(data.decode(errors="replace"))
    path.write_bytes(data)
    path.chmod(0o600)
    with contextlib.suppress(QuiesceError):
        Keyring(path).secrets_for(b"purpose")


def _seeds() -> dict[str, tuple[bytes, ...]]:
    scene = _SCENE
    name = point_name(scene.opened.keys, _POINT)
    draft = PackDraft(b"w" * 16, 1)
    draft.add(b"a" * 32, b"\0" * 13, b"x" * 40)
    trailer = PackListing(draft.id, draft.listing().blobs).as_bytes()
    passphrase = WrappedKeys.of(Keys.new(), Passphrase("right", work=2**4), "mine").as_bytes()
    return {
        "repository-point": (scene.plain(name), scene.objects[name][0]),
        "repository-index": (scene.plain(scene.index), scene.objects[scene.index][0]),
        "repository-pack": (scene.objects[scene.pack][0], scene.plain(scene.index), trailer),
        "repository-keys": (scene.objects[ObjectName("config")][0], scene.objects[scene.keys][0], passphrase),
        "repository-tree": (scene.root, scene.fetcher.get(scene.segment)),
    }


_SEEDS: Final = _seeds()
PARSERS: Final = {
    "repository-point": Parser(seeds=_SEEDS["repository-point"], parse=_parse_point),
    "repository-index": Parser(seeds=_SEEDS["repository-index"], parse=_parse_index),
    "repository-pack": Parser(seeds=_SEEDS["repository-pack"], parse=_parse_pack),
    "repository-keys": Parser(seeds=_SEEDS["repository-keys"], parse=_parse_keys),
    "repository-tree": Parser(seeds=_SEEDS["repository-tree"], parse=_parse_tree),
    "storage-listing": Parser(
        seeds=(b"fconfig\nfkeys/00-11\ndpacks\nlindex\nppoints/aa\nf.a.quiesce-new\nf\xff\xfe",),
        parse=_parse_listing,
    ),
    "sftp": Parser(seeds=(_a_listing(), _a_file(), _HELLO), parse=_parse_sftp, needs="paramiko"),
    "keyring": Parser(seeds=(_written(b"k" * 32).encode(),), parse=_parse_keyring),
}

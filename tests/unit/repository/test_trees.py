"""Trees come back byte for byte: by the package, and by the reader that has only the format's page."""

from __future__ import annotations

import errno
import hashlib
import mmap
import os
import shutil
import socket
import stat
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from quiesce.files import walking
from quiesce.files.metadata import EVERYTHING
from quiesce.repository import (
    FileKey,
    Passphrase,
    Point,
    PointKey,
    Repository,
    TreeEntry,
    differences,
    saving_trees,
)
from quiesce.repository.content import BlobRecord
from quiesce.repository.points import point_name
from quiesce.repository.trees import HARD_LINK, LINK, SegmentDraft, needs_of, read_segment, walk_order
from quiesce.storage import DirectoryStorage, MemoryStorage

READER = Path(__file__).parents[3] / "tools" / "quiesce_reader.py"
KEY = PointKey(deployment="shop", point="nightly", instance="web_1")
AS_ROOT = os.geteuid() == 0


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """Return a tree of everything that a file system can hold."""
    root = tmp_path / "source"
    fill(root)
    return root


@pytest.fixture
def repository(tmp_path: Path) -> Repository:
    key = FileKey.new()
    (tmp_path / "key").write_text(key.as_text())
    return Repository.create(DirectoryStorage(tmp_path / "repository"), key)


def fill(root: Path) -> None:
    """Make the tree of finding W16, and more."""
    raw = os.fsencode(root)
    (root / "dir" / "empty").mkdir(parents=True)
    (root / "file").write_bytes(b"small")
    (root / "nothing").touch()
    (root / "large").write_bytes(os.urandom(3 << 20) + bytes(2 << 20) + b"end")
    (root / "many").write_bytes(b"".join(bytes([n]) * (1 << 20) for n in range(70)))
    with (root / "sparse").open("wb") as file:
        file.seek(5 << 20)
        file.write(b"data")
        file.truncate((9 << 20) + 13)
    for name in (b"\xff\xfe invalid", b" newline\n", "ä €".encode(), b"-rf", b"x" * 255):
        (Path(os.fsdecode(raw + b"/dir/" + name))).write_bytes(name)
    for number, target in enumerate((b"./rel", b"dir/", b"a//b", b"/etc/passwd", b"\xff", b"x" * 4000)):
        os.symlink(target, raw + b"/link%d" % number)
    os.link(root / "file", root / "dir" / "hard")
    os.link(root / "file", root / "zz")
    os.link(root / "link0", root / "linked-link", follow_symlinks=False)
    os.mkfifo(root / "pipe")
    os.link(root / "pipe", root / "piped")
    os.chmod(root / "dir" / "empty", 0o2751)
    for name, time_ns in (("file", -1_500_000_001), ("nothing", 4_102_444_800_123_456_789), ("link1", 7)):
        os.utime(root / name, ns=(time_ns, time_ns), follow_symlinks=False)
    os.setxattr(root / "file", b"user.a=b", b"\0\xff=")
    os.setxattr(root / "dir", b"user.empty", b"")
    if AS_ROOT:
        _fill_as_root(root)


def _fill_as_root(root: Path) -> None:
    os.mknod(root / "device", stat.S_IFCHR | 0o640, os.makedev(1, 3))
    os.mknod(root / "block", stat.S_IFBLK | 0o600, os.makedev(7, 300))
    os.chown(root / "link2", 12345, 2**32 - 2, follow_symlinks=False)
    os.chown(root / "large", 54321, 0)
    os.chmod(root / "large", 0o6755)
    acl = b"\2\0\0\0" + b"\1\0\7\0\xff\xff\xff\xff" + b"\2\0\6\0\x39\x30\0\0" + b"\4\0\5\0\xff\xff\xff\xff"
    acl += b"\x10\0\7\0\xff\xff\xff\xff" + b"\x20\0\5\0\xff\xff\xff\xff"
    os.setxattr(root / "nothing", b"system.posix_acl_access", acl)
    os.setxattr(root / "dir", b"system.posix_acl_default", acl)


def believe_times(monkeypatch: pytest.MonkeyPatch) -> None:
    """Take files for unchanged that are young, on whatever file system the test runs."""
    monkeypatch.setattr("quiesce.repository.saving_trees._TWO_TICKS_NS", -(10**12))
    monkeypatch.setattr("quiesce.repository.session.times_tell", lambda _root: True)


def save(repository: Repository, root: Path, **how: object) -> Point:
    descriptor = os.open(root, os.O_RDONLY)
    with repository.write() as session:
        item, saved = session.add_tree(descriptor, **how)  # type: ignore[arg-type]
        assert not saved.problems, str(saved.problems)
        point = Point(key=KEY, made_at=1.0, items={"data": item})
        session.commit(point)
    os.close(descriptor)
    return point


def restore(repository: Repository, target: Path) -> None:
    target.mkdir()
    descriptor = os.open(target, os.O_RDONLY)
    problems = repository.reader(KEY).restore_tree("data", descriptor, allowed=EVERYTHING)
    os.close(descriptor)
    assert not problems, str(problems)


def described(root: Path) -> Iterator[tuple[object, ...]]:
    """Yield everything about every entry: the judge, which shares no code with what is judged."""
    raw = os.fsencode(root)
    names: dict[int, bytes] = {}
    for directory, folders, files in os.walk(raw):
        folders.sort()
        for path in sorted([directory, *(os.path.join(directory, n) for n in files + folders)]):
            status = os.lstat(path)
            regular = stat.S_ISREG(status.st_mode)
            first = names.setdefault(status.st_ino, path[len(raw) :]) if status.st_nlink > 1 else b""
            attributes = {
                n: os.getxattr(path, n, follow_symlinks=False)
                for n in os.listxattr(path, follow_symlinks=False)
            }
            yield (
                path[len(raw) :], status.st_mode, status.st_uid, status.st_gid, status.st_mtime_ns,
                status.st_rdev, status.st_size if regular else 0,
                b"" if stat.S_ISDIR(status.st_mode) else first,
                os.readlink(path) if stat.S_ISLNK(status.st_mode) else b"",
                hashlib.sha256(Path(os.fsdecode(path)).read_bytes()).digest() if regular else b"", attributes,
            )  # fmt: skip


def require_same(one: Path, other: Path) -> None:
    assert list(described(one)) == list(described(other))
    if shutil.which("rsync"):
        command = ["rsync", "-nacXAH", "--delete", "--itemize-changes", f"{one}/", f"{other}/"]
        done = subprocess.run(command, capture_output=True, check=False)
        assert done.stdout == b"", done.stdout
        assert done.returncode == 0, done.stderr


def test_a_tree_comes_back_byte_for_byte(repository: Repository, source: Path, tmp_path: Path) -> None:
    """Targets of links, attributes, access control lists, old times, hard links, holes, odd names."""
    save(repository, source)
    restore(repository, tmp_path / "target")
    require_same(source, tmp_path / "target")
    sparse = (tmp_path / "target" / "sparse").stat()
    assert sparse.st_blocks * 512 <= (source / "sparse").stat().st_blocks * 512 + 8192


@pytest.mark.parametrize("how", ["file", "passphrase"])
def test_the_independent_reader_restores_the_same(
    repository: Repository, source: Path, tmp_path: Path, how: str
) -> None:
    """It imports nothing of the package, and gets everything back."""
    if how == "passphrase":
        repository.add_key(Passphrase("über alles", work=64))
        (tmp_path / "key").write_text("über alles\n")
    with repository.write() as session:
        descriptor = os.open(source, os.O_RDONLY)
        tree, _ = session.add_tree(descriptor)
        os.close(descriptor)
        data = (source / "large").read_bytes()
        stream = session.add_stream([data])
        disk = session.add_disk(len(data), lambda offset, length: data[offset : offset + length])
        session.commit(Point(key=KEY, made_at=1.0, items={"data": tree, "dump": stream, "vda": disk}))
    base = [
        sys.executable,
        "-I",
        str(READER),
        str(tmp_path / "repository"),
        f"--{how}",
        str(tmp_path / "key"),
    ]
    base[-2] += "-file" if how == "passphrase" else ""
    base[-2] = base[-2].replace("--file", "--key-file")
    listed = subprocess.run([*base, "list"], capture_output=True, text=True, check=True)
    assert listed.stdout == "shop nightly web_1 data (tree), dump (stream), vda (disk)\n"
    done = subprocess.run(
        [*base, "restore", "shop", "nightly", "web_1", str(tmp_path / "out")],
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
    require_same(source, tmp_path / "out" / "data")
    assert (tmp_path / "out" / "dump").read_bytes() == data
    assert (tmp_path / "out" / "vda").read_bytes() == data


def test_the_reader_goes_on_past_what_is_damaged(
    repository: Repository, source: Path, tmp_path: Path
) -> None:
    """An index, which the packs can do for, and a point: what is whole comes back without them."""
    save(repository, source)
    with repository.write() as session:
        lost = Point(key=replace(KEY, point="lost"), made_at=2.0, items={"log": session.add_stream([b"x"])})
        session.commit(lost)
    place = tmp_path / "repository"
    for path in (*place.glob("index/*"), place / point_name(repository._opened.keys, lost.key)):
        path.chmod(0o600)
        path.write_bytes(path.read_bytes()[:-1] + b"\0")
    base = [sys.executable, "-I", str(READER), str(place), "--key-file", str(tmp_path / "key")]
    listed = subprocess.run([*base, "list"], capture_output=True, text=True, check=True)
    assert listed.stdout == "shop nightly web_1 data (tree)\n"
    assert "points/" in listed.stderr
    target = str(tmp_path / "out")
    subprocess.run([*base, "restore", "shop", "nightly", "web_1", target], capture_output=True, check=True)
    require_same(source, tmp_path / "out" / "data")


def test_the_reader_is_short_and_imports_nothing_of_ours() -> None:
    """One file that can be read in one sitting, and taken along."""
    text = READER.read_text()
    assert len(text.splitlines()) <= 400
    assert "import quiesce" not in text
    assert "from quiesce" not in text


def test_what_has_not_changed_is_not_opened(
    repository: Repository, source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By times, size and inode; with force_read everything is read."""
    believe_times(monkeypatch)
    first = save(repository, source).items["data"]
    repository.remove(KEY)
    (source / "file").write_bytes(b"other")
    (source / "dir" / "new").write_bytes(b"new")
    descriptor = os.open(source, os.O_RDONLY)
    with repository.write() as session:
        item, saved = session.add_tree(descriptor, previous=first)
        # the changed one by its first name, and the new one
        assert saved.files - saved.unchanged == 2
        _, forced = session.add_tree(descriptor, previous=first, force_read=True)
        assert forced.unchanged == 0
        session.commit(Point(key=KEY, made_at=1.0, items={"data": item}))
    os.close(descriptor)
    restore(repository, tmp_path / "target")
    require_same(source, tmp_path / "target")


def test_a_file_as_young_as_the_last_point_is_read_again(repository: Repository, source: Path) -> None:
    """It may have been written once more within the same tick of the clock."""
    first = save(repository, source).items["data"]
    os.utime(source / "file")
    descriptor = os.open(source, os.O_RDONLY)
    with repository.write() as session:
        second, _ = session.add_tree(descriptor, previous=first)
        os.utime(source / "zz")
        _, saved = session.add_tree(descriptor, previous=second)
        assert saved.unchanged < saved.files
    os.close(descriptor)


@pytest.fixture(params=["tmp_path", "/dev/shm"])
def directory(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Path]:
    """Return a new directory, on a disk and in memory."""
    if request.param == "tmp_path":
        yield tmp_path
        return
    if not os.access(request.param, os.W_OK):
        pytest.skip(f"there is no {request.param}")
    with tempfile.TemporaryDirectory(dir=request.param) as made:
        yield Path(made)


def test_what_is_written_through_a_map_is_seen(directory: Path) -> None:
    """A page that was dirty already changes no time when it is written to again; in memory none ever does."""
    repository = Repository.create(MemoryStorage(), FileKey.new())  # elsewhere: it makes nothing durable
    source = directory / "mapped"
    source.mkdir()
    (source / "file").write_bytes(bytes(8192))
    descriptor = os.open(source, os.O_RDONLY)
    with (source / "file").open("r+b") as file, mmap.mmap(file.fileno(), 8192) as mapped:
        mapped[:6] = b"first "
        time.sleep(0.1)  # older than two ticks
        first = save(repository, source).items["data"]
        time.sleep(0.1)
        mapped[:6] = b"second"
        with repository.write() as session:
            item, _ = session.add_tree(descriptor, previous=first)
            session.commit(Point(key=replace(KEY, point="two"), made_at=2.0, items={"data": item}))
    os.close(descriptor)
    stored = repository.reader(replace(KEY, point="two")).read_file("data", b"file")
    assert b"".join(stored)[:6] == b"second"


def test_without_what_the_disk_has_nothing_is_taken_for_unchanged(
    repository: Repository, source: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A file system that cannot write its pages out cannot tell which were written to since."""

    def fail(_descriptor: int) -> None:
        raise OSError(errno.EIO, "it cannot")

    believe_times(monkeypatch)
    monkeypatch.setattr("quiesce.repository.saving_trees.sync_file_system", fail)
    monkeypatch.setattr("quiesce.repository.saving_trees._TWO_TICKS_NS", 0)
    first = save(repository, source).items["data"]
    monkeypatch.undo()
    descriptor = os.open(source, os.O_RDONLY)
    with repository.write() as session:
        _, saved = session.add_tree(descriptor, previous=first)
    os.close(descriptor)
    assert saved.unchanged == 0


def test_what_is_not_stored_any_more_is_read_again(
    repository: Repository, source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A pack that is lost is made good by the next backup."""
    believe_times(monkeypatch)
    first = save(repository, source).items["data"]
    pack = max((tmp_path / "repository" / "packs").rglob("*"), key=lambda path: path.stat().st_size)
    pack.unlink()
    repository.remove(KEY)
    try:
        save(repository, source, previous=first)
    except Exception:  # the tree itself was in it: nothing to compare with
        save(repository, source)
    restore(repository, tmp_path / "target")
    require_same(source, tmp_path / "target")


def test_sockets_and_unreadable_files_are_named(repository: Repository, source: Path) -> None:
    """They are left out, and said."""
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(source / "socket"))
        descriptor = os.open(source, os.O_RDONLY)
        with repository.write() as session:
            _, saved = session.add_tree(descriptor)
        os.close(descriptor)
    assert [problem.path for problem in saved.left_out] == [b"socket"]


def test_one_file_is_read_without_the_rest(repository: Repository, source: Path) -> None:
    """Any part of it, by any of its names."""
    save(repository, source)
    reader = repository.reader(KEY)
    large = (source / "large").read_bytes()
    assert b"".join(reader.read_file("data", b"large", 1 << 20, 3 << 20)) == large[1 << 20 : 4 << 20]
    assert b"".join(reader.read_file("data", b"many", 66 << 20, 5)) == bytes([66]) * 5
    assert b"".join(reader.read_file("data", b"zz")) == b"small"
    assert reader.entry("data", b"link2").target == b"a//b"
    with pytest.raises(Exception, match="is not in data"):
        reader.entry("data", b"dir/no")


def test_a_part_of_a_tree_is_listed(repository: Repository, tmp_path: Path) -> None:
    """Whatever segment it lies in."""
    root = tmp_path / "source"
    for number in range(40):
        (root / f"d{number}").mkdir(parents=True)
        for name in range(60):
            (root / f"d{number}" / f"{name}").touch()
        (root / f"d{number}.x").touch()
    save(repository, root)
    reader = repository.reader(KEY)
    whole = [entry.path for entry in reader.entries("data")]
    assert len(whole) == 40 * 62 + 1
    for number in range(40):
        below = [entry.path for entry in reader.entries("data", below=b"d%d" % number)]
        assert below == [p for p in whole if p == b"d%d" % number or p.startswith(b"d%d/" % number)]


PATHS = st.lists(
    st.binary(min_size=1, max_size=4).map(lambda n: n.replace(b"/", b"_")), min_size=1, max_size=4
)
RECORDS = st.lists(
    st.builds(BlobRecord, st.binary(min_size=32, max_size=32), st.integers(0, 2**32 - 1)), max_size=3
).map(tuple)
ENTRIES = st.builds(
    TreeEntry,
    path=PATHS.map(b"/".join),
    kind=st.sampled_from(b"fdlpcbh"),
    bits=st.integers(0, 3),
    mode=st.integers(0, 0o7777),
    uid=st.integers(0, 2**32 - 1),
    gid=st.integers(0, 2**32 - 1),
    mtime_ns=st.integers(-(2**62), 2**66),
    ctime_ns=st.integers(-(2**62), 2**66),
    inode=st.integers(0, 2**64 - 1),
    size_bytes=st.integers(0, 2**64 - 1),
    flags=st.integers(0, 2**32 - 1),
    attributes=st.dictionaries(st.binary(min_size=1, max_size=9), st.binary(max_size=9), max_size=2),
    records=RECORDS,
)


@given(st.lists(ENTRIES, max_size=9), st.binary(max_size=9), st.tuples(*[st.integers(0, 2**32 - 1)] * 2))
def test_entries_read_as_they_were_written(
    entries: list[TreeEntry], target: bytes, device: tuple[int, int]
) -> None:
    """Every field of every kind, also times that no file system has."""
    with_targets = [with_special(entry, target, device) for entry in entries]
    draft = SegmentDraft()
    for entry in with_targets:
        draft.add(entry)
    data = draft.as_bytes()
    assert list(read_segment(data)) == with_targets
    content, lists = needs_of(data)
    assert content == [r for entry in entries for r in entry.records if not entry.is_indirect]
    assert lists == [r for entry in entries for r in entry.records if entry.is_indirect]


def with_special(entry: TreeEntry, target: bytes, device: tuple[int, int]) -> TreeEntry:
    fields = {name: getattr(entry, name) for name in TreeEntry.__slots__}
    if entry.kind in {LINK, HARD_LINK}:
        fields["target"] = target
    if entry.kind in b"cb":
        fields["device"] = device
    return TreeEntry(**fields)


def test_more_files_than_are_opened_ahead_come_back_in_their_places(
    repository: Repository, tmp_path: Path
) -> None:
    """With directories and links between them."""
    tree = tmp_path / "tree"
    for number in range(120):
        place = tree / f"{number % 7}" / f"{number}"
        place.mkdir(parents=True)
        (place / "file").write_bytes(b"%d" % number * number)
        (place / "link").symlink_to("file")
    root = os.open(tree, os.O_RDONLY)
    with repository.write() as session:
        item, _ = session.add_tree(root)
        session.commit(Point(key=KEY, made_at=1.0, items={"data": item}))
    os.close(root)
    reader = repository.reader(KEY)
    paths = [entry.path for entry in reader.entries("data")]
    assert len(paths) == 1 + 7 + 3 * 120
    assert paths == sorted(paths, key=walk_order)
    for number in (0, 1, 31, 32, 33, 119):
        path = b"%d/%d/file" % (number % 7, number)
        assert b"".join(reader.read_file("data", path)) == b"%d" % number * number


def test_a_file_that_cannot_be_read_is_told_and_left_out(
    repository: Repository, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The files that were opened before and after it are stored, and nothing stays open."""
    tree = tmp_path / "tree"
    tree.mkdir()
    for number in range(80):
        (tree / f"{number:02}").write_bytes(b"%d" % number)
    unreadable, read = (tree / "40").stat().st_ino, os.read

    def failing(descriptor: int, length: int) -> bytes:
        if os.fstat(descriptor).st_ino == unreadable:
            raise OSError(errno.EIO, "Input/output error")
        return read(descriptor, length)

    monkeypatch.setattr("quiesce.repository.saving_trees.os.read", failing)
    root = os.open(tree, os.O_RDONLY)
    before = len(os.listdir("/proc/self/fd"))
    with repository.write() as session:
        _, saved = session.add_tree(root)
    assert len(os.listdir("/proc/self/fd")) == before
    os.close(root)
    assert [problem.path for problem in saved.problems] == [b"40"]
    assert (saved.entries, saved.files) == (80, 80)


@pytest.mark.parametrize("below", [b"dir", b"file", b"link0", b"dir/empty"])
def test_a_part_of_a_tree_comes_back_by_itself(
    repository: Repository, source: Path, tmp_path: Path, below: bytes
) -> None:
    """By its own name, just as it was; what has its first name elsewhere brings its content along."""
    save(repository, source)
    target = tmp_path / "target"
    target.mkdir()
    descriptor = os.open(target, os.O_RDONLY)
    repository.reader(KEY).restore_tree("data", descriptor, allowed=EVERYTHING, below=below)
    os.close(descriptor)
    name = os.fsdecode(below.rpartition(b"/")[2])
    assert [path.name for path in target.iterdir()] == [name]
    subprocess.run(["diff", "-r", "--no-dereference", source / os.fsdecode(below), target / name], check=True)
    restored = (target / name).lstat()
    original = (source / os.fsdecode(below)).lstat()
    assert (restored.st_mode, restored.st_mtime_ns) == (original.st_mode, original.st_mtime_ns)


def test_names_of_one_file_stay_names_of_one_file(repository: Repository, tmp_path: Path) -> None:
    """Also where its first name is not among what comes back."""
    source, target = tmp_path / "source", tmp_path / "target"
    (source / "z").mkdir(parents=True)
    (source / "a").write_bytes(b"content")
    for name in ("one", "two"):
        os.link(source / "a", source / "z" / name)
    save(repository, source)
    target.mkdir()
    descriptor = os.open(target, os.O_RDONLY)
    assert not repository.reader(KEY).restore_tree("data", descriptor, below=b"z")
    os.close(descriptor)
    assert (target / "z" / "one").read_bytes() == b"content"
    assert (target / "z" / "one").samefile(target / "z" / "two")


@pytest.mark.parametrize("where", ["Entry.open", "TreeSaver._read_file"])
def test_a_name_whose_first_name_is_lost_keeps_nothing_from_coming_back(
    repository: Repository, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, where: str
) -> None:
    """It is stored by itself where it can be read, and else named; the rest of the tree comes back."""
    source = tmp_path / "source"
    source.mkdir()
    (source / "a").write_bytes(b"content")
    os.link(source / "a", source / "b")
    (source / "c").write_bytes(b"other")
    fail_at(b"a", where, monkeypatch)
    descriptor = os.open(source, os.O_RDONLY)
    with repository.write() as session:
        item, saved = session.add_tree(descriptor)
        session.commit(Point(key=KEY, made_at=1.0, items={"data": item}))
    os.close(descriptor)
    monkeypatch.undo()
    restore(repository, tmp_path / "target")
    lost = {problem.path for problem in saved.problems}
    there = {os.fsencode(path.name) for path in (tmp_path / "target").iterdir()}
    assert b"a" in lost
    assert lost | there == {b"a", b"b", b"c"}
    if where == "Entry.open":
        assert (tmp_path / "target" / "b").read_bytes() == b"content"


def fail_at(path: bytes, where: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let what cannot be read be just *path*."""
    owner, name = where.split(".")
    class_ = {"Entry": walking.Entry, "TreeSaver": saving_trees.TreeSaver}[owner]
    original = getattr(class_, name)

    def fail(self: object, *given: object) -> object:
        if path in {getattr(self, "path", None), *given[:1]}:
            raise PermissionError(errno.EACCES, "not ours")
        return original(self, *given)

    monkeypatch.setattr(class_, name, fail)


def test_a_further_name_of_what_is_not_there_is_told(repository: Repository, tmp_path: Path) -> None:
    """It keeps nothing else from coming back, whoever stored such a tree."""
    source, target = tmp_path / "source", tmp_path / "target"
    source.mkdir()
    (source / "file").write_bytes(b"content")
    save(repository, source)
    reader = repository.reader(KEY)
    dangling = TreeEntry(path=b"a", kind=HARD_LINK, target=b"gone")
    entries = list(reader.entries("data"))
    entries.insert(1, dangling)
    target.mkdir()
    descriptor = os.open(target, os.O_RDONLY)
    reader.entries = lambda _item, below=b"": iter(entries)  # type: ignore[method-assign,misc,assignment]
    problems = reader.restore_tree("data", descriptor)
    os.close(descriptor)
    assert [problem.path for problem in problems] == [b"a"]
    assert (target / "file").read_bytes() == b"content"


def test_what_differs_between_two_trees_is_told(repository: Repository, tmp_path: Path) -> None:
    """Each path once, in the order of a walk, and why."""
    source = tmp_path / "source"
    (source / "dir").mkdir(parents=True)
    for name in ("dir/gone", "dir.txt", "same", "touched", "written"):
        (source / name).write_bytes(b"before")
    first = save(repository, source)
    repository.remove(KEY)
    (source / "dir" / "gone").unlink()
    (source / "dir" / "new").symlink_to("gone")
    (source / "written").write_bytes(b"after ")
    os.utime(source / "touched", ns=(1, 1))
    os.utime(source / "dir", ns=(1, 1))
    second = save(repository, source)
    with repository.write() as session:
        session.commit(replace(first, key=replace(KEY, point="before")))
    before = repository.reader(replace(KEY, point="before")).entries("data")
    after = repository.reader(second.key).entries("data")
    found = {each.path: each.difference.value for each in differences(before, after)}
    assert list(found.items()) == [
        (b"dir", "metadata"),
        (b"dir/gone", "removed"),
        (b"dir/new", "added"),
        (b"touched", "metadata"),
        (b"written", "content"),
    ]

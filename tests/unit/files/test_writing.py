"""What is written is what was read, byte for byte; nothing is written through a link, nothing half."""

from __future__ import annotations

import errno
import os
import resource
import shutil
import stat
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from quiesce.errors import TreeChangedError, UnsafeNameError
from quiesce.files.content import write_all, write_all_at
from quiesce.files.metadata import APPEND_ONLY, IMMUTABLE, Allowed, Metadata, read_flags
from quiesce.files.removal import remove_tree
from quiesce.files.writing import Sync, TreeWriter, make_directory

from .trees import copied, facts, links_of

PLAIN = Metadata(mode=stat.S_IFREG | 0o644, uid=os.geteuid(), gid=os.getegid(), mtime_ns=0)
FOLDER = Metadata(mode=stat.S_IFDIR | 0o755, uid=os.geteuid(), gid=os.getegid(), mtime_ns=0)
LINK = Metadata(mode=stat.S_IFLNK | 0o777, uid=os.geteuid(), gid=os.getegid(), mtime_ns=0)


@pytest.fixture
def target(directory: int) -> Iterator[int]:
    """Give a fresh directory to write a tree into: ``target`` below `tmp_path`."""
    descriptor = make_directory(directory, b"target")
    yield descriptor
    os.close(descriptor)


@pytest.fixture
def source(tmp_path: Path) -> Path:
    path = tmp_path / "source"
    path.mkdir()
    return path


@pytest.mark.parametrize("sync", list(Sync))
def test_a_tree_is_written_as_it_was_told(kernel: bool, tmp_path: Path, target: int, sync: Sync) -> None:
    """Content, holes, kinds, names, modes and times."""
    writer = TreeWriter(target, sync=sync)
    writer.directory(b"", FOLDER)
    writer.directory(
        b"a", Metadata(mode=stat.S_IFDIR | 0o500, uid=os.geteuid(), gid=os.getegid(), mtime_ns=7)
    )
    with writer.file(b"a/f", PLAIN, 12) as file:
        file.write(b"first")
        file.write(b"second.")
    with writer.file(b"sparse", PLAIN, (1 << 20) + 5 + (1 << 21)) as file:
        file.skip(1 << 20)
        file.write(b"bytes")
        file.skip(1 << 21)
    writer.symbolic_link(b"link", b".//a/../x/", LINK)
    writer.hard_link(b"a/g", b"a/f")
    assert not writer.finish()
    root = tmp_path / "target"
    assert (root / "a/f").read_bytes() == b"firstsecond."
    assert (root / "a").stat().st_mtime_ns == 7
    assert stat.S_IMODE((root / "a").stat().st_mode) == 0o500
    assert (root / "a/f").samefile(root / "a/g")
    assert (root / "sparse").read_bytes() == bytes(1 << 20) + b"bytes" + bytes(1 << 21)
    assert (root / "sparse").stat().st_blocks * 512 < 1 << 20
    assert os.readlink(os.fsencode(root) + b"/link") == b".//a/../x/"


def test_a_copy_has_everything(
    kernel: bool, root_only: None, tmp_path: Path, directory: int, source: Path
) -> None:
    """Owners, set-user-ID, capabilities, ACLs, odd attributes, devices, pipes, hard links of all kinds."""
    _tree_with_everything(source)
    assert not copied(source, directory, b"copy")
    assert facts(tmp_path / "copy") == facts(source)
    assert links_of(tmp_path / "copy") == links_of(source)
    assert len(links_of(source)) == 3


_MODES = st.integers(0, 0o7777)
# what ext4 can hold: from 1901 to 2446
_TIMES = st.integers(-(2**31 - 2) * 10**9, 2**33 * 10**9)
_VALUES = st.dictionaries(
    st.binary(min_size=1, max_size=40).map(lambda raw: b"user." + raw.replace(b"\0", b"=")),
    st.binary(max_size=200),
    max_size=3,
)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=80)
@given(mode=_MODES, mtime_ns=_TIMES, attributes=_VALUES, ids=st.tuples(*[st.integers(0, 2**31)] * 2))
def test_any_metadata_comes_back(
    root_only: None,
    tmp_path_factory: pytest.TempPathFactory,
    mode: int,
    mtime_ns: int,
    attributes: dict[bytes, bytes],
    ids: tuple[int, int],
) -> None:
    """Of a file and of a directory, for any mode, owner, time and attributes."""
    top = os.open(tmp_path_factory.mktemp("any"), os.O_RDONLY)
    target = make_directory(top, b"target")
    try:
        writer = TreeWriter(target, allowed=Allowed(set_id=True), sync=Sync.LATER)
        for kind, path in ((stat.S_IFREG, b"file"), (stat.S_IFDIR, b"dir")):
            told = Metadata(
                mode=kind | mode, uid=ids[0], gid=ids[1], mtime_ns=mtime_ns, attributes=attributes
            )
            if kind == stat.S_IFDIR:
                writer.directory(path, told)
            else:
                with writer.file(path, told, 0):
                    pass
        assert not writer.finish()
        for kind, path in ((stat.S_IFREG, b"file"), (stat.S_IFDIR, b"dir")):
            descriptor = os.open(path, os.O_RDONLY, dir_fd=target)
            found = Metadata.of_descriptor(descriptor)
            os.close(descriptor)
            assert (found.mode, found.uid, found.gid) == (kind | mode, *ids)
            assert found.mtime_ns == mtime_ns
            assert {**found.attributes} == attributes
    finally:
        os.close(target)
        os.close(top)


@pytest.mark.parametrize("path", [b"../evil", b"/evil", b"a/../../evil", b"", b".", b"a//b"])
def test_a_path_that_leads_out_is_refused(target: int, path: bytes) -> None:
    """Whatever kind of entry it names."""
    writer = TreeWriter(target)
    writer.directory(b"a", FOLDER)
    for make in (
        lambda: writer.symbolic_link(path, b"x", LINK),
        lambda: writer.special(path, Metadata(mode=stat.S_IFIFO, uid=0, gid=0, mtime_ns=0)),
        lambda: writer.hard_link(path, b"a"),
        lambda: writer.hard_link(b"b", path),
        lambda: writer.file(path, PLAIN, 0).__enter__(),
        lambda: writer.directory(path or b".", FOLDER),
    ):
        with pytest.raises(UnsafeNameError):
            make()
    writer.close()


def test_nothing_is_written_through_a_link_of_the_tree(kernel: bool, tmp_path: Path, target: int) -> None:
    """A stored tree may hold a link and entries that pretend that it is a directory."""
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "victim").write_bytes(b"untouched")
    writer = TreeWriter(target)
    writer.symbolic_link(b"door", os.fsencode(outside), LINK)
    writer.symbolic_link(b"window", os.fsencode(outside / "victim"), LINK)
    for make in (
        lambda: writer.file(b"door/new", PLAIN, 0).__enter__(),
        lambda: writer.directory(b"door/new", FOLDER),
        lambda: writer.symbolic_link(b"door/new", b"x", LINK),
        lambda: writer.hard_link(b"door/new", b"window"),
        lambda: writer.hard_link(b"mine", b"door/victim"),
        lambda: writer.file(b"window", PLAIN, 0).__enter__(),
        lambda: writer.directory(b"door", FOLDER),
    ):
        with pytest.raises(OSError):
            make()
    writer.hard_link(b"second", b"window")
    writer.finish()
    assert os.listdir(outside) == ["victim"]
    assert (outside / "victim").read_bytes() == b"untouched"
    assert (outside / "victim").stat().st_nlink == 1
    assert (tmp_path / "target/second").is_symlink()


def test_what_gives_rights_is_left_out_unless_it_is_allowed(
    root_only: None, tmp_path: Path, directory: int, source: Path
) -> None:
    """Set-user-ID, capabilities and devices; and it is said."""
    _tree_with_everything(source)
    problems = copied(source, directory, b"copy", Allowed())
    assert set(problems.reasons.values()) == {1, 2}
    assert sorted(problem.path for problem in problems) == [b"able", b"block", b"chars", b"suid"]
    root = tmp_path / "copy"
    assert not (root / "block").exists()
    assert (root / "suid").stat().st_mode & 0o7777 == 0o755
    assert os.listxattr(root / "able") == []


def test_nobody_enters_a_tree_before_it_is_whole(tmp_path: Path, directory: int, source: Path) -> None:
    """Whatever the permissions of what is written, and of the directory around it."""
    if shutil.which("setfacl") and os.geteuid() == 0:
        subprocess.run(["setfacl", "-d", "-m", "u:54321:rwx", str(tmp_path)], check=True)
    target = make_directory(directory, b"target")
    writer = TreeWriter(target)
    writer.directory(b"", FOLDER)
    with writer.file(b"f", PLAIN, 0) as file:
        assert stat.S_IMODE(os.fstat(file.descriptor).st_mode) == 0o600
        assert os.listxattr(file.descriptor) == []
    assert stat.S_IMODE(os.fstat(target).st_mode) == 0o700
    assert os.listxattr(target) == []
    writer.finish()
    assert stat.S_IMODE(os.fstat(target).st_mode) == 0o755
    os.close(target)


@pytest.mark.parametrize("size_bytes", [4, 6])
def test_a_file_that_is_not_as_long_as_announced_is_an_error(target: int, size_bytes: int) -> None:
    """Nothing is padded or cut off."""
    writer = TreeWriter(target)
    with pytest.raises(TreeChangedError), writer.file(b"f", PLAIN, size_bytes) as file:
        file.write(b"12345")


def test_a_source_that_becomes_shorter_is_an_error(tmp_path: Path, target: int) -> None:
    """No zeros in the place of what is missing."""
    (tmp_path / "f").write_bytes(b"12345")
    source = os.open(tmp_path / "f", os.O_RDONLY)
    writer = TreeWriter(target)
    with pytest.raises(TreeChangedError), writer.file(b"f", PLAIN, 9) as file:
        file.copy(source)
    os.close(source)


@pytest.mark.parametrize("number", [errno.EXDEV, errno.EINVAL, errno.ENOSYS])
def test_what_the_kernel_cannot_copy_is_read_and_written(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, target: int, number: int
) -> None:
    """Across file systems, on old kernels."""

    def refuses(*_: object) -> int:
        raise OSError(number, "not by the kernel")

    monkeypatch.setattr(os, "copy_file_range", refuses)
    (tmp_path / "f").write_bytes(bytes(range(256)) * 9000)
    source = os.open(tmp_path / "f", os.O_RDONLY)
    writer = TreeWriter(target)
    with writer.file(b"f", PLAIN, 256 * 9000) as file:
        assert file.copy(source) == 256 * 9000
    writer.finish()
    os.close(source)
    assert (tmp_path / "target/f").read_bytes() == (tmp_path / "f").read_bytes()


@pytest.mark.parametrize(
    "write", [write_all, lambda fd, data: write_all_at(fd, data, 0)], ids=["write", "pwrite"]
)
def test_short_writes_are_continued(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, write: object) -> None:
    """A kernel may take less than it is given."""
    real_write, real_pwrite = os.write, os.pwrite
    monkeypatch.setattr(os, "write", lambda fd, data: real_write(fd, data[:3]))
    monkeypatch.setattr(os, "pwrite", lambda fd, data, offset: real_pwrite(fd, data[:3], offset))
    descriptor = os.open(tmp_path / "f", os.O_WRONLY | os.O_CREAT)
    assert callable(write)
    write(descriptor, b"0123456789")
    os.close(descriptor)
    assert (tmp_path / "f").read_bytes() == b"0123456789"


def test_a_file_size_limit_is_an_error(tmp_path: Path, target: int) -> None:
    """What the first, short, write took is not taken for the whole."""
    (tmp_path / "big").write_bytes(bytes(range(256)) * 1024)
    source = os.open(tmp_path / "big", os.O_RDONLY)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    writer = TreeWriter(target, sync=Sync.LATER)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_001, hard))
    try:
        with pytest.raises(OSError) as written, writer.file(b"f", PLAIN, 200_000) as file:
            file.write(bytes(200_000))
        with pytest.raises(OSError) as copied_, writer.file(b"g", PLAIN, 256 * 1024) as file:
            file.copy(source)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        os.close(source)
    assert {written.value.errno, copied_.value.errno} == {errno.EFBIG}


def test_flags_come_back_also_of_a_file_with_two_names(
    chattr: Callable[[str, Path], None], tmp_path: Path, directory: int, source: Path
) -> None:
    """Immutable and append-only are set when everything else is done."""
    (source / "dir").mkdir()
    (source / "a").write_bytes(b"locked")
    (source / "dir/b").hardlink_to(source / "a")
    (source / "log").touch()
    for flag, name in (("+i", "a"), ("+a", "log"), ("+d", "dir"), ("+i", "dir")):
        chattr(flag, source / name)
    assert not copied(source, directory, b"copy")
    assert _flags(tmp_path / "copy/a") == IMMUTABLE
    assert _flags(tmp_path / "copy/dir/b") == IMMUTABLE
    assert _flags(tmp_path / "copy/log") == APPEND_ONLY
    assert _flags(tmp_path / "copy/dir") == IMMUTABLE | 0x40
    for name in (b"source", b"copy"):
        assert remove_tree(directory, name, unlock=True).complete


@pytest.mark.parametrize("mtime_ns", [-(2**33) * 10**9, 2**35 * 10**9])
def test_a_time_that_cannot_be_held_is_said(tmp_path: Path, target: int, mtime_ns: int) -> None:
    """A file system that has room for fewer years puts it to the nearest."""
    writer = TreeWriter(target)
    told = Metadata(mode=PLAIN.mode, uid=PLAIN.uid, gid=PLAIN.gid, mtime_ns=mtime_ns)
    with writer.file(b"f", told, 0):
        pass
    problems = writer.finish()
    kept = (tmp_path / "target/f").stat().st_mtime_ns == mtime_ns
    assert kept != bool(problems)


def _flags(path: Path) -> int:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        return read_flags(descriptor)
    finally:
        os.close(descriptor)


def _tree_with_everything(root: Path) -> None:
    (root / "dir").mkdir(mode=0o2751)
    (root / "file").write_bytes(b"content" * 1000)
    os.chown(root / "file", 1234, 5678)
    (root / "suid").touch()
    (root / "suid").chmod(0o4755)
    (root / "able").touch()
    os.setxattr(
        root / "able", "security.capability", bytes.fromhex("0000000200040000000000000000000000000000")
    )
    os.setxattr(root / "file", b"user.a=b\xff", b"\0value\n")
    if shutil.which("setfacl"):
        subprocess.run(["setfacl", "-m", "u:77:r,g:88:rwx", str(root / "file")], check=True)
        subprocess.run(["setfacl", "-d", "-m", "u:77:rx", str(root / "dir")], check=True)
    os.mkfifo(root / "pipe", 0o640)
    os.mknod(root / "chars", stat.S_IFCHR | 0o666, os.makedev(1, 3))
    os.mknod(root / "block", stat.S_IFBLK | 0o600, os.makedev(7, 99))
    os.mknod(root / "socket", stat.S_IFSOCK | 0o777)
    top = os.fsencode(root)
    os.symlink(b"\xff/./x//", top + b"/dir/link\xfe")
    os.chown(top + b"/dir/link\xfe", 42, 43, follow_symlinks=False)
    os.link(top + b"/dir/link\xfe", top + b"/link2", follow_symlinks=False)
    os.link(top + b"/pipe", top + b"/dir/pipe2")
    os.link(top + b"/file", top + b"/dir/file2")
    with (root / "sparse").open("wb") as file:
        file.seek(3 << 20)
        file.write(b"end")
    for name, when in ((b"file", -1), (b"dir/link\xfe", -(10**9) - 1), (b"pipe", 123456789), (b"dir", -5)):
        os.utime(top + b"/" + name, ns=(when, when), follow_symlinks=False)


_ON_A_FULL_DISK = """
import errno, os, stat, subprocess, sys
top = sys.argv[1]
subprocess.run(["mount", "-t", "tmpfs", "-o", "size=200k", "none", top], check=True)
from pathlib import Path
from quiesce.files.durable import write_durably
from quiesce.files.metadata import Metadata
from quiesce.files.writing import Sync, TreeWriter, make_directory
above = os.open(top, os.O_RDONLY)
write_durably(Path(top, "small"), b"old")
target = make_directory(above, b"target")
writer = TreeWriter(target, sync=Sync.LATER)
told = Metadata(mode=stat.S_IFREG | 0o600, uid=0, gid=0, mtime_ns=0)
source = os.open(sys.executable, os.O_RDONLY)
size = os.fstat(source).st_size
def fails(action):
    try: action()
    except OSError as error: assert error.errno == errno.ENOSPC, error
    else: raise AssertionError("it said that it was written")
def writes():
    with writer.file(b"written", told, 500_000) as file: file.write(os.urandom(500_000))
def copies():
    with writer.file(b"copied", told, size) as file: file.copy(source)
fails(writes)
fails(copies)
fails(lambda: write_durably(Path(top, "small"), os.urandom(300_000)))
assert Path(top, "small").read_bytes() == b"old"
assert sorted(os.listdir(top)) == ["small", "target"]
"""


def test_a_full_disk_is_an_error_for_every_way_of_writing(root_only: None, tmp_path: Path) -> None:
    """What fitted is not taken for the whole, and a small file stays the old one."""
    alone = ["unshare", "--mount", "--propagation", "private"]
    if subprocess.run([*alone, "true"], check=False, capture_output=True).returncode:
        pytest.skip("no mount namespace of its own to be had")
    subprocess.run([*alone, sys.executable, "-c", _ON_A_FULL_DISK, str(tmp_path)], check=True)

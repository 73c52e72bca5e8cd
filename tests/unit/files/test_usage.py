"""Who uses a tree is found, however the process came to it."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from quiesce.files.usage import Usage, usage_of

_USES = {
    "working directory": "os.chdir(path)",
    "open file": "file = open(path + '/file')",
    "mapped file": "import mmap; f = open(path + '/file'); m = mmap.mmap(f.fileno(), 0, access=1); f.close()",
}


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    path = tmp_path / "a b\\tree"
    (path / "deep").mkdir(parents=True)
    (path / "deep/file").write_bytes(b"content")
    return path


def usage(path: Path, *, besides: frozenset[int] = frozenset()) -> Usage:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        return usage_of(descriptor, besides=besides)
    finally:
        os.close(descriptor)


@contextmanager
def process(code: str, path: Path, *prefix: str) -> Iterator[subprocess.Popen[bytes]]:
    code = f"import os, sys; path = sys.argv[1]; {code}; print(flush=True); sys.stdin.read()"
    command = [*prefix, sys.executable, "-S", "-c", code, str(path)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as started:
        assert started.stdout is not None
        assert started.stdout.readline() == b"\n"
        try:
            yield started
        finally:
            assert started.stdin is not None
            started.stdin.close()


@pytest.mark.parametrize("way", list(_USES))
def test_a_process_is_found_by_each_way_of_using(tree: Path, way: str) -> None:
    """With its number, its command and the way."""
    with process(_USES[way], tree / "deep") as user:
        [found] = usage(tree).users
    assert found.pid == user.pid
    assert way in found.ways
    assert found.command.startswith(sys.executable)
    assert found.example.startswith(os.fsencode(tree))
    assert usage(tree).users == ()


def test_a_process_beside_the_tree_is_not_found(tree: Path) -> None:
    """A name that begins alike is another one."""
    (tree.parent / (tree.name + "2")).mkdir()
    with process("os.chdir(path)", tree.parent / (tree.name + "2")):
        assert usage(tree).users == ()


def test_we_and_those_named_are_not_counted(tree: Path) -> None:
    """Our own descriptors are no use by somebody else."""
    with process(_USES["working directory"], tree) as user:
        assert usage(tree, besides=frozenset({user.pid})).users == ()


def test_a_file_that_was_deleted_is_still_used(tree: Path) -> None:
    """A database that lost its files goes on writing."""
    with process(_USES["open file"], tree / "deep"):
        (tree / "deep/file").unlink()
        assert [found.ways for found in usage(tree).users] == [("open file",)]


def test_a_program_of_the_tree_is_found(tree: Path) -> None:
    """By the file that it runs."""
    program = tree / "deep/program"
    program.write_bytes(Path("/bin/sleep").read_bytes())
    program.chmod(0o700)
    with subprocess.Popen([program, "60"], cwd="/") as started:
        try:
            [found] = usage(tree).users
        finally:
            started.kill()
    assert "program" in found.ways


def test_a_process_in_a_chroot_is_found(root_only: None, tree: Path) -> None:
    """By its root."""
    with process("os.chdir('/'); os.chroot(path)", tree):
        [found] = usage(tree).users
    assert found.ways[0] == "root directory"


@pytest.mark.parametrize("what", ["deep", "", ".."], ids=["a part of it", "it", "what is above it"])
def test_a_process_with_a_mount_of_its_own_is_found(
    root_only: None, tmp_path: Path, tree: Path, what: str
) -> None:
    """In a container the path is another one: a bind mount of the tree, a part, or a directory above."""
    (tmp_path / "elsewhere").mkdir()
    elsewhere = tmp_path / "elsewhere"
    script = f'mount --bind "$1" "{elsewhere}" && cd "{elsewhere}" && {_down(what)} exec "$0" -S -c "$2"'
    if subprocess.run(["unshare", "--mount", "true"], check=False, capture_output=True).returncode:
        pytest.skip("no mount namespace of its own to be had")
    waits = "import sys; print(flush=True); sys.stdin.read()"
    command = ["unshare", "--mount", "sh", "-c", script, sys.executable, str(tree / what), waits]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as started:
        assert started.stdout is not None
        assert started.stdout.readline() == b"\n"
        found = usage(tree).users
        beside = usage(tmp_path / "elsewhere").users
        started.communicate(b"")
    assert [(user.pid, user.ways[-1]) for user in found] == [(started.pid, "working directory")]
    assert beside == ()


_LOOKS = """
import os
from quiesce.files.usage import usage_of
for user in usage_of(os.open(os.environ["TREE"], os.O_RDONLY)).users:
    print(user.pid, *user.ways, os.fsdecode(user.example), sep="|")
"""


@pytest.mark.parametrize("what", ["deep", "."])
def test_what_is_mounted_elsewhere_is_used_though_nobody_has_it_open(
    root_only: None, tree: Path, tmp_path: Path, what: str
) -> None:
    (tmp_path / "elsewhere").mkdir()
    script = 'mount --bind "$TREE/$0" "$1" && exec "$2" -c "$3"'
    words = [what, str(tmp_path / "elsewhere"), sys.executable, _LOOKS]
    found = _in_own_space(script, tree, *words)
    assert found == [f"0|mounted directory|{tmp_path}/elsewhere"]


def test_a_process_with_a_mount_of_the_tree_uses_it_though_it_has_nothing_open(
    root_only: None, tree: Path, tmp_path: Path
) -> None:
    (tmp_path / "elsewhere").mkdir()
    descriptor = os.open(tree, os.O_RDONLY)
    command = ["unshare", "--mount", "sh", "-c", 'mount --bind "$0/deep" "$1"; echo; exec sleep 60']
    with subprocess.Popen(
        [*command, str(tree), str(tmp_path / "elsewhere")], stdout=subprocess.PIPE
    ) as there:
        assert there.stdout is not None
        assert there.stdout.readline() == b"\n"
        try:
            [user] = usage_of(descriptor).users
        finally:
            there.kill()
            os.close(descriptor)
    assert (user.pid, user.ways) == (there.pid, ("mounted directory",))


def _in_own_space(script: str, tree: Path, *words: str) -> list[str]:
    command = ["unshare", "--mount", "sh", "-c", script, *words]
    if subprocess.run(["unshare", "--mount", "true"], check=False, capture_output=True).returncode:
        pytest.skip("mount namespaces cannot be made here")
    done = subprocess.run(
        command, env=os.environ | {"TREE": str(tree)}, capture_output=True, text=True, check=True
    )
    return done.stdout.splitlines()


def _down(what: str) -> str:
    return 'cd "a b\\\\tree" &&' if what == ".." else ""


def test_a_directory_too_deep_for_its_path_to_be_told_is_found_and_harms_nobody(deep: int) -> None:
    """Any user can be in one; it must not keep root from looking at the others."""
    code = """
import os, sys
os.chdir(sys.argv[1])
for _ in range(30):
    os.mkdir("d" * 200); os.chdir("d" * 200)
print("ready", flush=True)
sys.stdin.read()
"""
    where = f"/proc/{os.getpid()}/fd/{deep}"
    command = [sys.executable, "-I", "-c", code, os.readlink(where)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"ready\n"
        assert [user.pid for user in usage_of(deep).users] == [process.pid]
        other = os.open("/proc/self", os.O_RDONLY)
        assert usage_of(other).users == ()
        os.close(other)
        process.kill()

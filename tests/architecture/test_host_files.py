"""The host provider reaches users' trees through `quiesce.files` alone: no path is looked up twice."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

from quiesce.providers import host

DIRECTORY = Path(str(host.__file__)).parent
#: what handles trees; the others ask SQLite, the kernel or ``/proc``
MODULES = (
    *("saved_tree", "counting", "cuts", "directory", "entries", "extracting", "former_states", "in_use"),
    *("inspecting", "snapshot_dir", "stored"),
)
#: these look a name up, so they need the open directory that it is in
BY_DESCRIPTOR = {"open", "mkdir", "unlink", "rmdir", "stat", "readlink", "link", "symlink", "mknod", "rename"}
#: these look up a whole path, or follow what is in it
NEVER = {
    *("rmtree", "copytree", "walk", "makedirs", "removedirs", "chown", "lchown", "utime"),
    *("iterdir", "rglob", "glob", "write_bytes", "write_text", "read_bytes", "read_text", "touch"),
    *("symlink_to", "hardlink_to", "chmod"),
}
#: what is looked at by path, and why that is harmless
KNOWN = {
    ("snapshot_dir", "read_text"): "which boot of the machine it is, from /proc",
    ("snapshot_dir", "iterdir"): "whether anything at all is where an operator says that snapshots are",
    ("inspecting", "open"): "a file without a name, to see whether the file system can share data",
}


def calls_by_path(source: str) -> Iterator[str]:
    for node in ast.walk(ast.parse(source)):
        if not isinstance(node, ast.Call) or not isinstance(node.func, ast.Attribute):
            continue
        name = node.func.attr
        of_os = isinstance(node.func.value, ast.Name) and node.func.value.id == "os"
        by_descriptor = any(keyword.arg in {"dir_fd", "src_dir_fd"} for keyword in node.keywords)
        if name in NEVER or (of_os and name in BY_DESCRIPTOR and not by_descriptor):
            yield name


@pytest.mark.parametrize("module", MODULES)
def test_trees_are_reached_by_open_directories(module: str) -> None:
    found = set(calls_by_path((DIRECTORY / f"{module}.py").read_text()))
    assert found <= {name for known, name in KNOWN if known == module}


def test_every_exception_is_still_needed() -> None:
    for module, name in KNOWN:
        assert name in set(calls_by_path((DIRECTORY / f"{module}.py").read_text()))


def test_a_path_that_is_looked_up_is_found() -> None:
    assert list(calls_by_path("os.unlink(path)\nshutil.rmtree(path)\nos.unlink(b'a', dir_fd=3)")) == [
        "unlink",
        "rmtree",
    ]

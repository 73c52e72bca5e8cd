"""A local user of no rights, who does to a tree what root does not expect."""

from __future__ import annotations

import contextlib
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

#: a user and group that nobody has
NOBODY = 54321

_PRELUDE = """
import contextlib, ctypes, os, sys
libc = ctypes.CDLL(None)
libc.prctl(1, 9)  # PR_SET_PDEATHSIG: no attacker outlives its test
def exchange(one, other):
    return libc.renameat2(-100, one.encode(), -100, other.encode(), 2)
"""


def as_user(code: str, directory: Path) -> None:
    """Run Python *code* as the user, in *directory*, and wait for it."""
    process = _start(code, directory)
    with process:
        assert process.wait(60) == 0


@contextlib.contextmanager
def racing(code: str, directory: Path, *, count: int = 1) -> Iterator[None]:
    """Run Python *code* again and again as the user, in *directory*, while the block runs."""
    loop = f"print('ready', flush=True)\nwhile True:\n    try:\n{_indented(code)}\n    except OSError: pass"
    processes = [_start(loop, directory) for _ in range(count)]
    try:
        for process in processes:
            assert process.stdout is not None
            assert process.stdout.readline() == b"ready\n"
        yield
        assert all(process.poll() is None for process in processes), "an attacker gave up"
    finally:
        for process in processes:
            process.kill()
            process.communicate()


def _start(code: str, directory: Path) -> subprocess.Popen[bytes]:
    # the system's own: another user may not be able to reach this environment's
    interpreter = shutil.which("python3", path="/usr/bin:/usr/local/bin")
    if interpreter is None:
        pytest.skip("no interpreter that any user can run")
    return subprocess.Popen(
        [interpreter, "-I", "-S", "-c", _PRELUDE + code],
        cwd=directory,
        user=NOBODY,
        group=NOBODY,
        extra_groups=[],
        stdout=subprocess.PIPE,
    )


def _indented(code: str) -> str:
    return "\n".join(" " * 8 + line for line in code.strip().splitlines())

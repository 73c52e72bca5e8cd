"""Known words in the place of secrets, and where they are searched."""

from __future__ import annotations

import base64
import contextlib
import gzip
import io
import os
import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from unittest import mock

from quiesce.cli.main import run

from .shop import CommandLine


def said(quiesce: CommandLine, *arguments: str) -> list[str]:
    """Run a command that only reads in this process, which is quicker; return what it printed."""
    out, err = io.StringIO(), io.StringIO()
    with (
        mock.patch.dict(os.environ, {"QUIESCE_HOME": str(quiesce.home), "NO_COLOR": "1"}),
        contextlib.redirect_stdout(out),
        contextlib.redirect_stderr(err),
    ):
        assert run([*arguments]) == 0
    return [out.getvalue(), err.getvalue()]


def forms_of(words: Iterable[str]) -> list[bytes]:
    """Return each word, a piece of it, and how base64 writes it."""
    found = []
    for word in words:
        found += [word.encode(), word[7:].encode(), word[:16].encode(), base64.b64encode(word.encode())[:20]]
    return found


@contextmanager
def watching(forms: list[bytes]) -> Iterator[set[str]]:
    """Look at the arguments of all processes, and at the environment of all that were not given a secret."""
    seen: set[str] = set()
    done = threading.Event()

    def look() -> None:
        while not done.wait(0.1):
            for process in Path("/proc").glob("[0-9]*"):
                with suppress(OSError):
                    environment = (process / "environ").read_bytes()
                    arguments = (process / "cmdline").read_bytes()
                    given = any(name in b"\0" + environment for name in (b"\0password=", b"\0PGPASSWORD="))
                    # what a script itself hands to ctx is its own doing
                    if b"ctx_command.py" in arguments:
                        continue
                    if any(form in arguments or (form in environment and not given) for form in forms):
                        seen.add(f"{process.name}: {arguments!r}")

    thread = threading.Thread(target=look)
    thread.start()
    try:
        yield seen
    finally:
        done.set()
        thread.join()


def holding(root: Path, forms: list[bytes]) -> list[Path]:
    found = []
    for directory, _, names in os.walk(root):
        for path in (Path(directory) / name for name in names):
            if path.is_file():
                content = path.read_bytes()
                with suppress(OSError, EOFError):
                    content += gzip.decompress(content)
                found += [path] * any(form in content for form in forms)
    return found

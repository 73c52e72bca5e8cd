"""The tutorial and the how-to pages are followed from an empty directory, command by command."""

from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path

import pytest

from ..on_path import path_with_quiesce  # noqa: TID252  shared by several tests

DOCS = Path(__file__).parents[2] / "docs"
TUTORIAL = DOCS / "tutorial.md"
_BLOCK = re.compile(r"^```(sh|yaml)\n(.*?)^```$", re.DOTALL | re.MULTILINE)
#: up to here the tutorial makes what the other pages start from
_PROTECTED = "## 4. Break it"


@pytest.mark.parametrize(
    "page", [TUTORIAL, *sorted((DOCS / "howto").glob("*.md"))], ids=lambda page: page.stem
)
def test_what_the_page_says_works(page: Path, tmp_path: Path) -> None:
    here = tmp_path / "here"
    here.mkdir()
    if page != TUTORIAL:
        _follow(TUTORIAL.read_text().partition(_PROTECTED)[0], here)
    _follow(page.read_text(), here)


def test_the_tutorial_says_what_is_answered(tmp_path: Path) -> None:
    told = _follow(TUTORIAL.read_text(), tmp_path)
    assert told.count("\na photograph\n[('tea',)]\n") == 1
    assert told.count("\nnot a photograph\n") == 1
    assert re.search(r"^first +backup +complete +application ", told, re.MULTILINE)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["bin", "home"]


def _follow(text: str, here: Path) -> str:
    """Write the page's files, run its commands in one shell, and return what was printed."""
    commands = []
    for block in _BLOCK.finditer(text):
        if block[1] == "yaml":
            name = re.findall(r"`([\w.]+\.yaml)`", text[: block.start()])[-1]
            (here / name).write_text(block[2])
        else:
            commands.append(block[2])
    done = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", "".join(commands)],
        cwd=here,
        env={**os.environ, "QUIESCE_HOME": str(here / "home"), "PATH": path_with_quiesce(here)},
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout

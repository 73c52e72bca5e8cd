"""The README's example is run as it is printed."""

from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path

from ..on_path import path_with_quiesce  # noqa: TID252  shared by several tests


def test_the_example_runs_and_answers_as_printed(readme: str, tmp_path: Path) -> None:
    """Ten lines of shell, run in an empty directory with an empty home."""
    (tmp_path / "shop.yaml").write_text(_block(readme, "yaml"))
    commands = _block(readme, "sh")
    assert len(commands.splitlines()) == 10
    done = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", commands],
        cwd=tmp_path,
        env={**os.environ, "QUIESCE_HOME": str(tmp_path / "home"), "PATH": path_with_quiesce(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
        timeout=240,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert _masked(_block(readme, "text")) in _masked(done.stdout)
    assert "consistency application" in done.stdout
    assert "\ndata/orders.db\n" in done.stdout


def test_the_two_commands_are_make_targets(readme: str) -> None:
    """Whoever follows the README finds what it promises."""
    root = Path(__file__).parents[2]
    makefiles = "".join(path.read_text() for path in (root / "Makefile", *(root / "mk").glob("*.mk")))
    for target in re.findall(r"^make (\w+)", readme, re.MULTILINE):
        assert re.search(rf"^{target}:", makefiles, re.MULTILINE), f"there is no target {target}"


def _block(text: str, language: str) -> str:
    found = re.search(rf"^```{language}\n(.*?)^```$", text, re.DOTALL | re.MULTILINE)
    assert found is not None
    return found[1]


def _masked(text: str) -> str:
    return re.sub(r"_[a-z0-9]{6}\b", "_ID", re.sub(r"\b[\d.]+ (ms|s)\b", "TIME", text))

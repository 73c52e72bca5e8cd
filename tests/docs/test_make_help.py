"""``make help`` names every target that somebody may want."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

ROOT = Path(__file__).parents[2]


def test_every_target_says_what_it_does() -> None:
    files = [ROOT / "Makefile", *sorted((ROOT / "mk").glob("*.mk"))]
    text = "\n".join(file.read_text() for file in files)
    phony = re.findall(r"^\.PHONY: (.+)$", text, re.MULTILINE)
    shown = subprocess.run(
        ["make", "--no-print-directory", "help"], cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout
    told = dict(re.findall(r"^  ([a-z-]+) +(\S.*)$", shown, re.MULTILINE))
    assert set(told) == {target for line in phony for target in line.split()}

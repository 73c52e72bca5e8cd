"""A short round of planted damage; `make planted` plants 500."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

from .planted import DAMAGES

ROOT = Path(__file__).parents[2]


def test_every_damage_is_found_and_refused_before_a_restore_touches_anything() -> None:
    command = [sys.executable, "-m", "tests.faults.planted", "--size", str(len(DAMAGES))]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert (planted := re.search(r"^(\d+) planted .* 0 wrong$", done.stdout, re.MULTILINE)), done.stdout
    assert int(planted[1]) >= len(DAMAGES)

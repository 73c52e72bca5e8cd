"""A short sweep of faults; `make sweep` tries each of them."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.skipif(shutil.which("cc") is None, reason="needs cc, to build the fault layer")
ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize(
    ("scenes", "share", "least"),
    [
        pytest.param("a backup", 0.003, 5, id="backup"),
        pytest.param("restore a snapshot", 0.003, 4, id="snapshot"),
        pytest.param("make a snapshot, its guard", 0.02, 1, id="guard"),
    ],
)
def test_whatever_call_fails_nothing_half_made_is_called_whole_or_stays(
    scenes: str, share: float, least: int
) -> None:
    command = [sys.executable, "-m", "tests.faults.sweep", "--share", str(share), scenes]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    tried = re.findall(r"^(\d+) injections .* 0 wrong$", done.stdout, re.MULTILINE)
    assert tried, done.stdout
    assert int(tried[-1]) >= least

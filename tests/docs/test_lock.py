"""The lock file pins everything that development needs, by hash, and names no server."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

ROOT = Path(__file__).parents[2]


def test_every_dependency_is_pinned_with_its_hashes() -> None:
    """What pyproject.toml names is locked, and every lock has a hash."""
    text = (ROOT / "requirements-dev.lock").read_text()
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    named = [
        *project["project"]["dependencies"],
        *project["project"]["optional-dependencies"]["ssh"],
        *project["dependency-groups"]["dev"],
    ]
    entries = re.split(r"\n(?=[a-z])", text)
    locked = {re.split(r"==", entry)[0].partition("[")[0] for entry in entries}
    wanted = {re.split(r"[<>=\[; ]", name)[0].lower().replace("_", "-") for name in named}
    assert wanted - locked == set()
    assert all("--hash=sha256:" in entry for entry in entries)
    assert "://" not in text

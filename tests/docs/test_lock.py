"""The lock files pin everything that development and releases need, by hash, and name no server."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
DEVELOPMENT = [
    *PROJECT["build-system"]["requires"],
    *PROJECT["project"]["dependencies"],
    *PROJECT["project"]["optional-dependencies"]["ssh"],
    *PROJECT["dependency-groups"]["dev"],
]


@pytest.mark.parametrize(
    ("lock", "named"),
    [
        ("requirements-dev.lock", DEVELOPMENT),
        ("requirements-release.lock", PROJECT["dependency-groups"]["release"]),
    ],
)
def test_every_dependency_is_pinned_with_its_hashes(lock: str, named: list[str]) -> None:
    """What pyproject.toml names is locked, and every lock has a hash."""
    text = (ROOT / lock).read_text()
    entries = re.split(r"\n(?=[a-z])", text)
    locked = {re.split(r"==", entry)[0].partition("[")[0] for entry in entries}
    wanted = {re.split(r"[<>=\[; ]", name)[0].lower().replace("_", "-") for name in named}
    assert wanted - locked == set()
    assert all("--hash=sha256:" in entry for entry in entries)
    assert "://" not in text


def test_make_installs_what_is_locked_only() -> None:
    """Every pip of the Makefile for the development environment checks hashes, or installs nothing but us."""
    rule = (ROOT / "Makefile").read_text().partition("/.ready:")[2].partition("\n\n")[0]
    installs = [line for line in rule.splitlines() if "pip install" in line]
    assert len(installs) == 2
    assert all("--require-hashes" in line or "--no-deps --no-build-isolation" in line for line in installs)

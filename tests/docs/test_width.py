"""Prose is wrapped at one width; tables, examples and what is generated are as wide as they must be."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
WIDTH = 110
GENERATED = {ROOT / "docs" / "cli.md"}
PAGES = sorted(
    {*(ROOT / "docs").rglob("*.md"), *(ROOT / "changes").glob("*.md"), *ROOT.glob("*.md")} - GENERATED
)
_EXAMPLE = re.compile(r"^ *```.*?^ *```$", re.MULTILINE | re.DOTALL)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_prose_is_wrapped(page: Path) -> None:
    lines = _EXAMPLE.sub("", page.read_text()).splitlines()
    assert [line for line in lines if len(line) > WIDTH and " " in line.strip() and line[0] != "|"] == []

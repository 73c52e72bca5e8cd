"""Every page is in the index, every link leads somewhere, every term of ours is in the glossary."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from quiesce.model.consistency import Consistency
from quiesce.model.operation import Operation
from quiesce.planning import WORKFLOWS

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
PAGES = sorted([*DOCS.rglob("*.md"), ROOT / "README.md", ROOT / "CONTRIBUTING.md"])
_LINK = re.compile(r"\[[^\]]*\]\(([^)#\s]+)(?:#([^)\s]+))?\)")
_EXAMPLE = re.compile(r"^ *```.*?^ *```$", re.MULTILINE | re.DOTALL)


def links(page: Path) -> Iterator[Path]:
    """Yield where the links of a page lead to: not those to other sites, nor what stands in examples."""
    for target, _ in _LINK.findall(_EXAMPLE.sub("", page.read_text())):
        if "://" not in target:
            yield (page.parent / target).resolve()


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_link_leads_somewhere(page: Path) -> None:
    assert [str(target) for target in links(page) if not target.exists()] == []


def test_every_page_is_in_the_index() -> None:
    found = set(links(DOCS / "index.md"))
    missing = [
        str(page.relative_to(DOCS))
        for page in DOCS.rglob("*.md")
        if page != DOCS / "index.md" and page not in found and page.parent not in found
    ]
    assert missing == []


def test_the_readme_leads_to_the_index() -> None:
    assert DOCS / "index.md" in set(links(ROOT / "README.md"))


@pytest.mark.parametrize("word", [*Operation, *WORKFLOWS, *(member.label for member in Consistency)])
def test_every_operation_workflow_and_class_is_in_the_glossary(word: str) -> None:
    assert re.search(rf"\b{word}\b", (DOCS / "glossary.md").read_text())

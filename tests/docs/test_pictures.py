"""The console's tests make the pictures of the documentation (``make pictures``); pages show each of them."""

from __future__ import annotations

import re
from pathlib import Path

DOCS = Path(__file__).parents[2] / "docs"
SHOWN = re.compile(r"!\[([^\]]*)\]\((?:\.\./)?pictures/([a-z-]+\.png)\)")
_TESTS = Path(__file__).parents[1] / "console" / "test_browser.py"


def shown() -> dict[str, str]:
    """Return what the pages say of each picture."""
    pages = [page.read_text() for page in DOCS.rglob("*.md")]
    return {name: words for page in pages for words, name in SHOWN.findall(page)}


def test_every_picture_is_there_and_shown_and_said_in_words() -> None:
    assert {path.name for path in (DOCS / "pictures").iterdir()} == shown().keys()
    for name, words in shown().items():
        assert len(words) > 10, name
        picture = (DOCS / "pictures" / name).read_bytes()
        assert picture.startswith(b"\x89PNG\r\n")
        assert len(picture) < 400_000, name


def test_every_picture_is_one_that_the_tests_make() -> None:
    tests = _TESTS.read_text()
    for name in shown():
        screen, _, scheme = name.removesuffix(".png").rpartition("-")
        screen, _, size = screen.rpartition("-")
        assert f'"{screen}":' in tests or f'"{screen}-{{size}}-{{scheme}}"' in tests, name
        assert f'"{size}"' in tests, name
        assert f'"{scheme}"' in tests, name

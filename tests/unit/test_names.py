"""One class name has one meaning in the whole package."""

from __future__ import annotations

import ast
from collections import defaultdict
from collections.abc import Iterable, Iterator
from pathlib import Path

SOURCES = Path(__file__).parents[2] / "src" / "quiesce"

#: stands for the package cloudify in child processes, so its names are Cloudify's
CLOUDIFYS = "isolation/runtime/stand_in"


def _classes(paths: Iterable[Path]) -> dict[str, list[str]]:
    """Return where each public class is defined."""
    found: dict[str, list[str]] = defaultdict(list)
    for path in paths:
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
                found[node.name].append(f"{path}:{node.lineno}")
    return found


def _twice(paths: Iterable[Path]) -> dict[str, list[str]]:
    return {name: places for name, places in _classes(paths).items() if len(places) > 1}


def _sources() -> Iterator[Path]:
    left_out = str(SOURCES / CLOUDIFYS) + "/"
    return (path for path in sorted(SOURCES.rglob("*.py")) if not str(path).startswith(left_out))


def test_every_class_name_has_one_meaning() -> None:
    """A reader who finds a class knows that it is the one."""
    assert _twice(_sources()) == {}


def test_a_second_class_of_a_name_is_found(tmp_path: Path) -> None:
    """The check sees a planted duplicate."""
    for name in ("first", "second"):
        (tmp_path / f"{name}.py").write_text("class Draft:\n    pass\n")
    assert list(_twice(tmp_path.iterdir())) == ["Draft"]

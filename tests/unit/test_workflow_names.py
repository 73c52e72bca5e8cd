"""Nothing outside planning asks what a workflow is called: its facts stand on its row."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

from quiesce.planning import WORKFLOWS

SOURCES = Path(__file__).parents[2] / "src" / "quiesce"
#: planning has the rows; a blueprint's vocabulary has words that are spelled alike
LEFT_OUT = ("planning", "blueprint", "model/operation.py")
#: these platforms call objects and jobs of theirs backup and restore: only what names a workflow counts
PLATFORMS_WORDS = ("providers/libvirt", "providers/openstack")

NAMES = {*WORKFLOWS, *(row.command for row in WORKFLOWS.values())}


def _is_name(node: ast.AST) -> bool:
    return isinstance(node, ast.Constant) and node.value in NAMES


def _asked(tree: ast.AST) -> Iterator[ast.AST]:
    """Give every place where something is compared with a workflow's name, or looked up by it."""
    for node in ast.walk(tree):
        match node:
            case ast.Compare():
                parts = [node.left, *node.comparators]
                collections = [p for p in parts if isinstance(p, ast.Tuple | ast.List | ast.Set)]
                parts += [element for each in collections for element in each.elts]
                yield from (part for part in parts if _is_name(part))
            case ast.Dict():
                yield from (key for key in node.keys if key is not None and _is_name(key))
            case ast.MatchValue() | ast.Subscript():
                value = node.value if isinstance(node, ast.MatchValue) else node.slice
                yield from [value] if _is_name(value) else []
            case ast.Set() | ast.Call(func=ast.Name(id="frozenset" | "workflow_named")):
                yield from (part for part in ast.walk(node) if _is_name(part))
            case ast.keyword(arg="workflow"):
                yield from [node.value] if _is_name(node.value) else []


def _sources() -> list[Path]:
    left_out = tuple(str(SOURCES / path) for path in LEFT_OUT)
    return [path for path in sorted(SOURCES.rglob("*.py")) if not str(path).startswith(left_out)]


def _places(path: Path) -> Iterator[str]:
    text = path.read_text()
    relative = str(path.relative_to(SOURCES))
    for node in _asked(ast.parse(text)):
        number = getattr(node, "lineno", 0)
        if not relative.startswith(PLATFORMS_WORDS) or "workflow" in text.splitlines()[number - 1]:
            yield f"{relative}:{number}"


def test_no_workflow_is_known_by_its_name_outside_planning() -> None:
    """A new workflow needs its row and nothing else."""
    asked = [place for path in _sources() for place in _places(path)]
    assert asked == []


@pytest.mark.parametrize(
    "text",
    [
        "plan.workflow == 'restore'",
        "'backup' != name",
        "name in ('backup', 'suspend')",
        "SAFE = {'remove_backup': 1}",
        "SAFE = frozenset({'remove_backup'})",
        "COMMANDS['remove-backup']",
        "match name:\n    case 'statistics': pass",
        "workflow_named('resume')",
        "WorkflowRequest(workflow='remove_backup')",
    ],
)
def test_a_planted_question_is_found(text: str) -> None:
    """Each way of asking is seen."""
    assert len(list(_asked(ast.parse(text)))) >= 1

"""Every workflow, parameter, error, exit status, provider and dependency has its entry."""

from __future__ import annotations

import ast
import configparser
import re
import tomllib
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest

import quiesce
from quiesce.blueprint.reading import problems
from quiesce.errors import ExitStatus, QuiesceError
from quiesce.model.capabilities import Description
from quiesce.planning import WORKFLOWS, default_of, parameters_of
from quiesce.providers.registry import describe_providers

SOURCE = Path(quiesce.__file__).parent
DOCS = Path(__file__).parents[2] / "docs"


def test_the_layers_are_those_that_are_checked() -> None:
    rules = configparser.ConfigParser()
    rules.read(DOCS.parent / ".importlinter")
    layers = [line.strip() for line in rules["importlinter:contract:layers"]["layers"].strip().splitlines()]
    section = (DOCS / "architecture.md").read_text().partition("## Layers")[2]
    shown = section.partition("```text\n")[2].partition("```")[0]
    assert [re.split("  +", line.strip())[0] for line in shown.splitlines()] == layers


@pytest.mark.parametrize("name", WORKFLOWS)
def test_every_workflow_has_a_page(name: str) -> None:
    text = (DOCS / "workflows" / f"{name}.md").read_text()
    assert text.startswith(f"# {name}\n")
    for heading in ("## Steps", "## Parameters", "## When something goes wrong", "## Examples"):
        assert heading in text
    for what in ("fails", "dies", "ancel"):
        assert what in text.split("## When something goes wrong")[1]


@pytest.mark.parametrize("name", WORKFLOWS)
def test_every_operation_of_a_workflow_is_on_its_page(name: str) -> None:
    steps = (DOCS / "workflows" / f"{name}.md").read_text().split("## Parameters")[0]
    assert [i for i in WORKFLOWS[name].interfaces if i not in steps] == []


@pytest.mark.parametrize("name", WORKFLOWS)
def test_every_parameter_is_on_its_workflows_page_with_its_default(name: str) -> None:
    text = (DOCS / "workflows" / f"{name}.md").read_text()
    for parameter in parameters_of(name):
        default = default_of(parameter, name)
        shown = (
            "-" if default is None else f"`{str(default).lower() if isinstance(default, bool) else default}`"
        )
        assert f"| `{parameter.name}` | {shown} |" in text


def test_generated_pages_are_up_to_date(generator: ModuleType) -> None:
    stale = [path.name for path, text in generator.pages().items() if path.read_text() != text]
    assert stale == [], "run: make docs"


def _codes() -> Iterator[tuple[str, str]]:
    for path in sorted(SOURCE.rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.ClassDef) and node.name.endswith("Error"):
                yield from ((node.name, value) for value in _code_in(node))


def _code_in(node: ast.ClassDef) -> Iterator[str]:
    for statement in node.body:
        if (
            isinstance(statement, ast.Assign)
            and [ast.unparse(target) for target in statement.targets] == ["code"]
            and isinstance(statement.value, ast.Constant)
        ):
            yield str(statement.value.value)


def _reasons() -> Iterator[str]:
    """What the engine gives as the code when an execution does not go on."""
    for path in sorted((SOURCE / "engine").glob("*.py")):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call) and ast.unparse(node.func) == "self._abort":
                first = node.args[0]
                if isinstance(first, ast.Constant):
                    yield str(first.value)


def _documented_codes() -> dict[str, int]:
    rows = re.findall(r"^\| `([a-z-]+)` \| (\d+) \|", (DOCS / "errors.md").read_text(), re.MULTILINE)
    return {code: int(status) for code, status in rows}


def test_every_error_code_is_explained() -> None:
    """In the table of all, or on the page of the platform that alone has it."""
    codes = {code for _, code in _codes()} | set(_reasons())
    pages = "".join(page.read_text() for page in (DOCS / "providers").glob("*.md"))
    on_pages = {code for code in codes if f"`{code}`" in pages}
    assert codes - _documented_codes().keys() - on_pages == set()


def test_no_error_code_is_explained_that_does_not_exist() -> None:
    codes = {code for _, code in _codes()} | set(_reasons())
    assert _documented_codes().keys() - codes == set()


def test_every_error_is_explained_with_its_exit_status() -> None:
    assert problems.InvalidBlueprintError in _errors(QuiesceError)
    documented = _documented_codes()
    wrong = {
        error.__name__: (error.code, int(error.exit_status))
        for error in _errors(QuiesceError)
        if error.__module__.startswith("quiesce.")
        and documented.get(error.code, error.exit_status) != error.exit_status
    }
    assert wrong == {}


def _errors(base: type[QuiesceError]) -> set[type[QuiesceError]]:
    return {base}.union(*(_errors(error) for error in base.__subclasses__()))


def test_no_two_errors_share_a_code() -> None:
    by_code: dict[str, set[str]] = {}
    for name, code in _codes():
        by_code.setdefault(code, set()).add(name)
    assert {code: names for code, names in by_code.items() if len(names) > 1} == {}


@pytest.mark.parametrize("status", ExitStatus, ids=lambda status: status.name)
def test_every_exit_status_is_explained(status: ExitStatus) -> None:
    assert f"| {status.value} | {status.name} | " in (DOCS / "exit-statuses.md").read_text()


@pytest.mark.parametrize("description", describe_providers(), ids=lambda description: description.name)
def test_every_provider_names_its_page(description: Description) -> None:
    """Write docs/providers/<name>.md, and name it in the description."""
    assert description.page.startswith("docs/")
    assert (DOCS.parent / description.page).read_text().startswith("# ")


def test_every_dependency_is_explained() -> None:
    project = tomllib.loads((SOURCE.parents[1] / "pyproject.toml").read_text())["project"]
    wanted = [
        *project["dependencies"],
        *(d for group in project["optional-dependencies"].values() for d in group),
    ]
    names = {re.split(r"[^A-Za-z0-9_.-]", text)[0] for text in wanted} - {"quiesce"}
    text = (DOCS / "dependencies.md").read_text()
    assert {name for name in names if f"\n| `{name}` " not in text} == set()


def test_every_extra_is_on_the_page_about_installing() -> None:
    project = tomllib.loads((SOURCE.parents[1] / "pyproject.toml").read_text())["project"]
    text = (DOCS / "installing.md").read_text()
    assert {extra for extra in project["optional-dependencies"] if f"`{extra}`" not in text} == set()


@pytest.mark.parametrize("page", sorted((DOCS / "decisions").glob("*.md")), ids=lambda page: page.stem)
def test_a_decision_tells_context_alternatives_and_consequences_in_under_a_page(page: Path) -> None:
    text = page.read_text()
    assert re.fullmatch(r"\d{4}-[a-z0-9-]+", page.stem)
    for heading in ("## Context", "## Decision", "## Alternatives", "## Consequences"):
        assert heading in text
    assert len(text.splitlines()) <= 60

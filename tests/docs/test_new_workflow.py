"""A new workflow is one row: command, options, help, Cloudify's file and the check of the docs follow."""

from __future__ import annotations

from pathlib import Path
from types import ModuleType

import click
import pytest
import yaml
from click.testing import CliRunner
from tests.unit.planning.made import SCRIPT, node, topology

from quiesce.cli.main import quiesce
from quiesce.cloudify.plugin_file import plugin_file
from quiesce.model.operation import FREEZE_SUSPEND, SNAPSHOT_CREATE
from quiesce.planning import WORKFLOWS, Workflow, default_of, parameters_of, plan_workflow, read_parameters
from quiesce.planning.suspend import plan_suspend


@pytest.fixture(autouse=True)
def hibernate(monkeypatch: pytest.MonkeyPatch) -> Workflow:
    """Plant a workflow that nobody has heard of."""
    row = Workflow(
        name="hibernate_all",
        planner=plan_suspend,
        interfaces=(FREEZE_SUSPEND, SNAPSHOT_CREATE),
        help="Write the memory of everything to disk.",
        example="-p snapshot_name=winter",
        makes_point=True,
        availability=("all", "none"),
        closing="Hibernated as",
        defaults={"parallel": 7, "min_consistency": "crash"},
    )
    monkeypatch.setitem(WORKFLOWS, row.name, row)
    return row


def _help(*arguments: str) -> str:
    result = CliRunner().invoke(quiesce, [*arguments, "--help"])
    assert result.exit_code == 0, result.output
    return result.output


def test_it_is_a_command_with_its_help_and_example() -> None:
    """The list of commands names it; its own help has sentence, example and options."""
    assert "hibernate-all" in _help()
    shown = _help("hibernate-all")
    assert "Write the memory of everything to disk." in shown
    assert "quiesce hibernate-all shop -p snapshot_name=winter" in shown


def test_its_options_are_the_parameters_that_its_facts_give_it() -> None:
    """It makes a restore point and freezes nothing."""
    command = quiesce.get_command(click.Context(quiesce), "hibernate-all")
    assert command is not None
    names = {parameter.name for parameter in command.params}
    assert {"snapshot_name", "min_consistency", "parallel", "dry_run"} <= names
    assert names.isdisjoint({"max_freeze", "apply_network", "all"})
    shown = {p.name: getattr(p, "help", "") for p in command.params}
    assert "[default: 7]" in shown["parallel"]


def test_it_is_planned_under_its_own_name() -> None:
    """A planner need not know what it is called; a restore point without a name gets one."""
    parameters = read_parameters("hibernate_all", {}, now=5.0)
    assert parameters.snapshot_name == "hibernate_all-5"
    plan = plan_workflow(
        "hibernate-all", topology([node("vm", operations=[FREEZE_SUSPEND])]), [SCRIPT], parameters
    )
    assert plan.workflow == "hibernate_all"


def test_it_is_in_cloudifys_file() -> None:
    """With its mapping, its parameters and their defaults, and when it may be started."""
    found = yaml.safe_load(plugin_file("plugin_1_5.yaml"))["workflows"]["hibernate_all"]
    assert found["mapping"] == "quiesce.quiesce.cloudify.workflows.hibernate_all"
    assert found["availability_rules"] == {"node_instances_active": ["all", "none"]}
    assert found["parameters"].keys() == {p.name for p in parameters_of("hibernate_all")} | {"dry_run"}
    assert found["parameters"]["min_consistency"]["default"] == "crash"
    assert found["parameters"]["parallel"]["default"] == "", (
        "how many it has threads for is the engine's to say"
    )


def test_its_page_is_asked_for(generator: ModuleType) -> None:
    """Whoever adds it without a page is told which one."""
    with pytest.raises(FileNotFoundError, match=r"hibernate_all\.md"):
        generator.pages()


def test_its_parameters_are_written_into_its_page(generator: ModuleType) -> None:
    """Once there is a page with the two marks, its table follows from the row."""
    marks = f"# x\n{generator.BEGIN}{generator.END}"
    page = generator.with_parameters(marks, "hibernate_all", generator.since.current())
    for parameter in parameters_of("hibernate_all"):
        assert f"| `{parameter.name}` |" in page
    assert "| `parallel` | `7` |" in page
    assert default_of(next(p for p in parameters_of("backup") if p.name == "parallel"), "backup") == 32


def test_its_page_is_where_the_others_are(docs: Path) -> None:
    """The page that is asked for lies beside those of the other workflows."""
    assert {path.stem for path in (docs / "workflows").glob("*.md")} >= WORKFLOWS.keys() - {"hibernate_all"}

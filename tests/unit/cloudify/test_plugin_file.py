"""The files that Cloudify reads."""

from __future__ import annotations

import pytest
import yaml

from quiesce.cloudify.plugin_file import FILES, HERE, PACK, pack, plugin_file
from quiesce.planning import WORKFLOWS, Workflow, parameters_of


@pytest.mark.parametrize("name", FILES)
def test_the_file_is_what_the_declarations_give(name: str) -> None:
    """Else run python -m quiesce.cloudify.plugin_file."""
    assert (HERE / name).read_text() == plugin_file(name)


def test_our_own_reader_knows_the_same_workflows() -> None:
    """Else run python -m quiesce.cloudify.plugin_file."""
    assert PACK.read_text() == pack()


@pytest.mark.parametrize("name", FILES)
def test_every_workflow_declares_every_parameter(name: str) -> None:
    workflows = yaml.safe_load(plugin_file(name))["workflows"]
    assert {workflow: set(content["parameters"]) for workflow, content in workflows.items()} == {
        workflow: {each.name for each in parameters_of(workflow) if not each.own_engine} | inside_only(row)
        for workflow, row in WORKFLOWS.items()
    }


def inside_only(workflow: Workflow) -> set[str]:
    return {"dry_run", "made_elsewhere"} if workflow.takes_points else {"dry_run"}


def test_our_node_types_are_plain_dsl() -> None:
    types = yaml.safe_load(plugin_file("plugin.yaml"))["node_types"]
    assert all("derived_from" in content for content in types.values())

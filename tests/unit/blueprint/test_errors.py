"""A wrong blueprint is refused with places, reasons and remedies, all at once."""

from __future__ import annotations

from typing import Any

import pytest

from quiesce.blueprint import InvalidBlueprintError, load_blueprint
from quiesce.errors import BlueprintError, ExitStatus

NODE = "node_templates: {app: {type: cloudify.nodes.Root%s}}\n"
TYPE = "node_types: {t: {derived_from: cloudify.nodes.Root%s}}\n"


def test_all_that_is_wrong_is_told_at_once(problems: Any) -> None:
    """The reader mends a file in one go."""
    assert problems(
        """\
node_types:
  mine: {derived_from: cloudify.nodes.Rot}
  yours: {derived_from: cloudify.nodes.Root, properties: {size: {type: integr}}}
node_templates:
  app: {type: mine, properties: {colour: 1}}
  db: {type: yurs}
  web:
    type: cloudify.nodes.Compute
    relationships: [{type: cloudify.relationships.conected_to, target: dbb}]
    interfaces: {cloudify.interfaces.freeze: {suspend: scrpt.tasks.run}}
"""
    ) == [
        (
            "blueprint.yaml:5:24: the node type 'mine' derives from 'cloudify.nodes.Rot', which is unknown; "
            "did you mean 'cloudify.nodes.Root'?"
        ),
        "blueprint.yaml:6:72: there is no type 'integr'; did you mean 'integer'?",
        "blueprint.yaml:8:34: node 'app' has no property 'colour'; declared are: none",
        "blueprint.yaml:9:14: node 'db': there is no node type 'yurs'; did you mean 'yours'?",
        (
            "blueprint.yaml:12:28: relationship of node 'web' to 'dbb': there is no relationship type "
            "'cloudify.relationships.conected_to'; did you mean 'cloudify.relationships.connected_to'?"
        ),
        "blueprint.yaml:12:72: node 'web' has a relationship to 'dbb', which is no node; did you mean 'db'?",
        (
            "blueprint.yaml:13:56: node 'web', operation 'cloudify.interfaces.freeze.suspend': "
            "'scrpt.tasks.run' is no function of a plugin, and no script next to the blueprint; "
            "did you mean 'script'?"
        ),
    ]


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("node_template: {}\n", "4:1: there is no section 'node_template'; did you mean 'node_templates'?"),
        (NODE % ", propertees: {}", "4:51: 'app' cannot have 'propertees'; did you mean 'properties'?"),
        (TYPE % ", properties: {p: }", "4:69: 'p' must not be empty"),
        (NODE % ", relationships: [null]", "4:67: 'relationships[0]' must not be empty"),
        ("labels: {l: {values: [1]}}\n", "4:23: 'values[0]' must be a string or a mapping, not 1"),
        (
            "blueprint_labels: {l: {values: [{get_input: a}]}}\n",
            "4:33: 'values[0]' must be a string, not a mapping",
        ),
        (NODE % ", properties: []", "4:63: 'properties' must be a mapping, not a list"),
        (NODE % ", instances: {deploy: many}", "4:71: 'deploy' must be an integer, not a string"),
        (NODE % ", instances: {deploy: -1}", "4:71: node 'app' cannot have -1 instances"),
        ("node_templates: {app: }\n", "4:18: node 'app' has no type"),
        (
            "node_types: {a: {derived_from: b}, b: {derived_from: a}}\n",
            "4:54: the node type 'a' derives from itself: a -> b -> a",
        ),
        (
            "data_types: {a: {properties: {x: {type: b}}}, b: {properties: {y: {type: a}}}}\n",
            "4:14: the data type 'a' contains or derives from itself: a -> b -> a",
        ),
        ("data_types: {string: {}}\n", "4:14: 'string' is a type of the DSL itself; choose another name"),
        (
            TYPE % ", properties: {p: {type: integer, default: x}}",
            "4:94: default of node type 't', property 'p'",
        ),
        (
            NODE % ", relationships: [{type: cloudify.relationships.connected_to, target: app}]",
            "4:119: node 'app' has a relationship to itself",
        ),
        (
            NODE % ", interfaces: {a: {b: {implementation: script.x, executor: moon}}}",
            "4:108: operation 'b' cannot have the executor 'moon'",
        ),
        (
            NODE % ", interfaces: {a: {b: {max_retries: -2}}}",
            "4:85: 'max_retries' must be -1 or more, not -2",
        ),
        (
            "plugins: {p: {executor: central_deployment_agent}}\n",
            "4:11: the plugin 'p' has neither source nor",
        ),
        (
            "plugins: {p: {executor: moon, install: false}}\n",
            "4:25: the plugin 'p' cannot have the executor 'moon'",
        ),
        (
            "inputs: {i: {constraints: [{in_rang: [1, 2]}]}}\n",
            "4:29: there is no constraint 'in_rang'; did you mean",
        ),
        (
            "inputs: {i: {constraints: [{in_range: 3}]}}\n",
            "4:39: the constraint 'in_range' cannot have the argument 3",
        ),
        ("inputs: {i: {hidden: true}}\n", "4:10: input 'i' is hidden and required, so it needs a default"),
        (
            "groups: {g: {members: [nobody]}}\n",
            "4:24: the group 'g' has the member 'nobody', which is neither",
        ),
        ("workflows: {w: nothing.x}\n", "4:16: workflow 'w': 'nothing.x' is no function of a plugin"),
        (
            "policies: {p: {type: cloudify.policies.scaling, targets: [g]}}\n",
            "4:59: the policy 'p' has the target 'g', which is no group",
        ),
    ],
)
def test_a_mistake_is_told_with_its_place_and_remedy(problems: Any, text: str, problem: str) -> None:
    """Line and column, what is wrong, what would be right."""
    assert problems(text)[0].startswith(f"blueprint.yaml:{problem}")


def test_nodes_that_depend_on_one_another_are_refused(problems: Any) -> None:
    """There would be no order to freeze them in."""
    [problem] = problems(
        """\
node_templates:
  a: {type: cloudify.nodes.Root, relationships: [{type: cloudify.relationships.connected_to, target: b}]}
  b: {type: cloudify.nodes.Root, relationships: [{type: cloudify.relationships.depends_on, target: a}]}
"""
    )
    assert "lead back to it" in problem


def test_a_blueprint_that_is_not_there_is_an_error(tmp_path: Any) -> None:
    """Not a traceback."""
    with pytest.raises(BlueprintError, match="the file cannot be read: No such file or directory") as caught:
        load_blueprint(tmp_path / "nothing.yaml")
    assert caught.value.exit_status is ExitStatus.BLUEPRINT


@pytest.mark.parametrize(
    ("header", "problem"),
    [
        ("", "the main file must give its tosca_definitions_version"),
        (
            "tosca_definitions_version: cloudify_dsl_9_9\n",
            "'cloudify_dsl_9_9' is not a version of the DSL that we read",
        ),
        ("tosca_definitions_version: 1.3\n", "1.3 is not a version of the DSL that we read"),
    ],
)
def test_a_blueprint_names_its_version(problems: Any, header: str, problem: str) -> None:
    """Which rules apply is not guessed."""
    assert problem in problems("node_templates: {}\n", header=header)[0]


def test_what_a_version_does_not_have_yet_is_a_warning(load: Any) -> None:
    """It is understood all the same."""
    blueprint = load("inputs: {n: {type: node_id, default: x}}\nnode_templates: {}\n")
    [warning] = blueprint.warnings
    assert warning.what == "the type 'node_id' needs cloudify_dsl_1_4, this blueprint has cloudify_dsl_1_3"


def test_loading_runs_nothing(load: Any, directory: Any) -> None:
    """A blueprint is data."""
    (directory / "evil.py").write_text("raise SystemExit('ran')\n")
    operation = load(NODE % ", interfaces: {life: {create: evil.py}}").nodes["app"].operations["life.create"]
    assert operation.inputs == {"script_path": "evil.py"}


def test_problems_are_values(load: Any) -> None:
    """A program can show them its own way."""
    with pytest.raises(InvalidBlueprintError) as caught:
        load("node_template: {}\n")
    [problem] = caught.value.problems
    assert (problem.position.line, problem.position.column) == (4, 1)
    assert problem.remedy == "did you mean 'node_templates'?"


def nested_types(levels: int, width: int) -> str:
    """Return data types that each hold *width* values of the one before."""
    lines = ["data_types:", "  d0: {properties: {a: {default: 1}}}"]
    for level in range(1, levels):
        fields = ", ".join(f"x{number}: {{type: d{level - 1}}}" for number in range(width))
        lines.append(f"  d{level}: {{properties: {{{fields}}}}}")
    return "\n".join(lines)


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        (nested_types(9, 10), "data types within data types make more than 200000 mappings"),
        (nested_types(500, 1), "what it defines is nested too deep"),
        (f"inputs: {{a: {{default: {'1' * 2000}}}}}\n", "a number of 2000 characters"),
    ],
    ids=["wide", "deep", "long"],
)
def test_a_small_blueprint_cannot_stand_for_a_huge_one(problems: Any, text: str, problem: str) -> None:
    """Time and memory are bounded, whatever is written."""
    assert problem in problems(text)[0]

"""Functions are checked wherever the DSL lets them stand, before anything is evaluated."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from quiesce.blueprint import ImportPolicy, InvalidBlueprintError, load_blueprint
from quiesce.blueprint.checking import schema
from quiesce.blueprint.checking.shapes import Leaf, ListOf, MapOf, Record, Shape, TextOr
from quiesce.blueprint.reading.functions import FUNCTIONS

ASKED = {"get_input": "nosuch"}
CASES = Path(__file__).parents[4] / "shared" / "cases"
BLUEPRINT: dict[str, Any] = {
    "tosca_definitions_version": "cloudify_dsl_1_5",
    "imports": ["cloudify/types/types.yaml"],
    "plugins": {
        "tool": {
            "executor": "central_deployment_agent",
            "install": False,
            "properties": {"p": {"type": "string", "value": 1}},
        }
    },
    "inputs": {"declared": {"default": 1}, "other": {"default": {"k": [1]}}},
    "data_types": {"data": {"properties": {"p": {"default": 1}}}},
    "node_types": {
        "used": {
            "derived_from": "cloudify.nodes.Root",
            "properties": {"p": {"default": 1}, "d": {"type": "data"}},
            "interfaces": {
                "life": {"create": {"implementation": "tool.do", "inputs": {"i": {"default": 1}}}}
            },
        }
    },
    "relationships": {
        "linked": {
            "derived_from": "cloudify.relationships.connected_to",
            "properties": {"p": {"default": 1}},
            "source_interfaces": {
                "link": {"up": {"implementation": "tool.do", "inputs": {"i": {"default": 1}}}}
            },
            "target_interfaces": {
                "link": {"up": {"implementation": "tool.do", "inputs": {"i": {"default": 1}}}}
            },
        }
    },
    "node_templates": {
        "n": {
            "type": "used",
            "properties": {"p": 1},
            "capabilities": {
                "scalable": {"properties": {"default_instances": 1, "min_instances": 1, "max_instances": 1}}
            },
            "interfaces": {
                "life": {
                    "stop": {"implementation": "tool.do", "inputs": {"i": 1}},
                    "empty": {"inputs": {"i": 1}},
                }
            },
        },
        "m": {
            "type": "used",
            "relationships": [
                {
                    "type": "linked",
                    "target": "n",
                    "properties": {"p": 1},
                    "source_interfaces": {"link": {"x": {"implementation": "tool.do", "inputs": {"i": 1}}}},
                    "target_interfaces": {"link": {"x": {"implementation": "tool.do", "inputs": {"i": 1}}}},
                }
            ],
        },
        "k": {"type": "used", "relationships": [{"type": "linked", "target": "n"}]},
    },
    "policy_types": {"watch": {"source": "x", "properties": {"p": {"default": 1}}}},
    "policy_triggers": {"start": {"source": "x", "parameters": {"p": {"default": 1}}}},
    "groups": {
        "g": {
            "members": ["n"],
            "policies": {
                "w": {
                    "type": "watch",
                    "properties": {"p": 1},
                    "triggers": {"t": {"type": "start", "parameters": {"p": 1}}},
                }
            },
        }
    },
    "policies": {
        "s": {
            "type": "cloudify.policies.scaling",
            "targets": ["g"],
            "properties": {"default_instances": 1, "min_instances": 1, "max_instances": 1},
        }
    },
    "workflows": {"w": {"mapping": "tool.w", "parameters": {"p": {"default": 1}}}},
    "outputs": {"o": {"value": 1}},
    "capabilities": {"c": {"value": 1}},
    "labels": {"l": {"values": ["x"]}},
    "blueprint_labels": {"l": {"values": ["x"]}},
    "resource_tags": {"r": "x"},
    "deployment_settings": {"display_name": "x"},
}
REFUSED = [
    "inputs/other/default",
    "plugins/tool/properties/p/value",
    "data_types/data/properties/p/default",
    "node_types/used/properties/p/default",
    "node_types/used/interfaces/life/create/inputs/i/default",
    "relationships/linked/properties/p/default",
    "relationships/linked/source_interfaces/link/up/inputs/i/default",
    "relationships/linked/target_interfaces/link/up/inputs/i/default",
    "node_templates/n/properties/p",
    "node_templates/n/capabilities/scalable/properties/default_instances",
    "node_templates/n/capabilities/scalable/properties/min_instances",
    "node_templates/n/capabilities/scalable/properties/max_instances",
    "node_templates/n/interfaces/life/stop/inputs/i",
    "node_templates/n/interfaces/life/empty/inputs/i",
    "node_templates/m/relationships/0/properties/p",
    "node_templates/m/relationships/0/source_interfaces/link/x/inputs/i",
    "node_templates/m/relationships/0/target_interfaces/link/x/inputs/i",
    "groups/g/policies/w/properties/p",
    "groups/g/policies/w/triggers/t/parameters/p",
    "policies/s/properties/default_instances",
    "policies/s/properties/min_instances",
    "policies/s/properties/max_instances",
    "workflows/w/parameters/p/default",
    "outputs/o/value",
    "capabilities/c/value",
    "labels/l/values/0",
    "resource_tags/r",
    "deployment_settings/display_name",
]
#: policies within groups are checked, but nothing acts on them
WARNED = ["policy_types/watch/properties/p/default", "policy_triggers/start/parameters/p/default"]


def with_value(path: str, value: object) -> dict[str, Any]:
    """Return the blueprint with *value* at *path*."""
    blueprint = copy.deepcopy(BLUEPRINT)
    *steps, last = (int(step) if step.isdigit() else step for step in path.split("/"))
    inner: Any = blueprint
    for step in steps:
        inner = inner[step]
    inner[last] = value
    return blueprint


def load_plain(blueprint: dict[str, Any], directory: Path, **arguments: Any) -> Any:
    path = directory / "blueprint.yaml"
    path.write_text(yaml.safe_dump(blueprint, sort_keys=False))
    return load_blueprint(path, **arguments)


def test_the_blueprint_of_these_tests_is_a_right_one(directory: Path) -> None:
    """So each refusal below has the one reason that is put into it."""
    assert load_plain(BLUEPRINT, directory).warnings == ()


@pytest.mark.parametrize("path", REFUSED)
@pytest.mark.parametrize(
    "wrap",
    [lambda asked: asked, lambda asked: {"concat": ["a", asked]}, lambda asked: {"get_secret": asked}],
    ids=["itself", "in concat", "in another function"],
)
def test_an_undeclared_input_is_refused_wherever_a_function_may_stand(
    directory: Path, path: str, wrap: Callable[[Any], Any]
) -> None:
    """The problem names the input, and the line where it is asked for."""
    blueprint = with_value(path, wrap(ASKED))
    with pytest.raises(InvalidBlueprintError) as caught:
        load_plain(blueprint, directory)
    found = [each for each in caught.value.problems if "asks for 'nosuch', which is no input" in each.what]
    assert found, caught.value
    text = (directory / "blueprint.yaml").read_text().splitlines()
    assert {"nosuch" in "".join(text[each.position.line - 2 : each.position.line + 1]) for each in found} == {
        True
    }


@pytest.mark.parametrize("path", WARNED)
def test_an_undeclared_input_in_what_nothing_acts_on_is_a_warning(directory: Path, path: str) -> None:
    """It is named with its position, and the blueprint is read."""
    [warning] = load_plain(with_value(path, ASKED), directory).warnings
    assert "get_input asks for 'nosuch', which is no input" in warning.what


@pytest.mark.parametrize("path", REFUSED)
def test_a_declared_input_may_stand_there_if_the_value_may(directory: Path, path: str) -> None:
    """The check refuses no function as such."""
    if path.startswith("inputs/"):
        return
    load_plain(with_value(path, {"get_input": "declared"}), directory)


@pytest.mark.parametrize("path", REFUSED)
def test_a_function_with_wrong_arguments_is_refused_there_too(directory: Path, path: str) -> None:
    """What is checked is all of the function, not the input's name alone."""
    with pytest.raises(InvalidBlueprintError, match="string_split takes a list of two strings"):
        load_plain(with_value(path, {"string_split": "a-b"}), directory)


def test_an_undeclared_input_deep_inside_a_default_is_refused(directory: Path) -> None:
    """Lists and mappings are looked into."""
    with pytest.raises(InvalidBlueprintError, match="'nosuch', which is no input"):
        load_plain(with_value("inputs/other/default", {"k": [{"l": ASKED}]}), directory)


def test_an_undeclared_input_in_a_given_value_is_refused(directory: Path) -> None:
    """What the user gives is a value like a default."""
    with pytest.raises(InvalidBlueprintError, match="'nosuch', which is no input"):
        load_plain(BLUEPRINT, directory, inputs={"other": {"k": ASKED}})


@pytest.mark.parametrize(
    "section", ["node_types", "data_types", "relationships", "policy_types", "policy_triggers"]
)
def test_an_undeclared_input_in_a_type_that_nothing_uses_is_a_warning(directory: Path, section: str) -> None:
    """Type files serve many blueprints; what a blueprint does not use cannot harm it, but is named."""
    blueprint = copy.deepcopy(BLUEPRINT)
    schema_of = "parameters" if section == "policy_triggers" else "properties"
    source = {"source": "x"} if section.startswith("policy") else {}
    blueprint[section]["unused"] = {**source, schema_of: {"p": {"default": ASKED}}}
    [warning] = load_plain(blueprint, directory).warnings
    assert "get_input asks for 'nosuch', which is no input" in warning.what
    assert warning.position.line


def test_an_entry_that_is_called_like_a_function_is_none(directory: Path) -> None:
    """A property, an input or a label named ``merge`` is a name and not a call."""
    blueprint = copy.deepcopy(BLUEPRINT)
    blueprint["node_types"]["used"]["properties"] = {"merge": {"default": "text"}}
    blueprint["node_types"]["used"]["interfaces"]["life"]["create"]["inputs"] = {"concat": {"default": 1}}
    blueprint["node_templates"]["n"]["properties"] = {"merge": "text"}
    blueprint["outputs"] = {"string_split": {"value": "x"}}
    blueprint["inputs"]["concat"] = {"default": 2}
    blueprint["resource_tags"] = {"get_secret": "x"}
    assert load_plain(blueprint, directory).nodes["n"].properties["merge"] == "text"


def test_every_place_of_the_schema_that_takes_a_function_is_tested_here() -> None:
    """A field that comes to the DSL later must be added to the list above."""
    tested = {_pattern(path) for path in (*REFUSED, *WARNED)}
    assert {
        path for path in _open_places(schema.BLUEPRINT) if path.split("/")[0] not in NO_FUNCTIONS
    } <= tested


#: sections that are no part of what a blueprint means, and settings that hold plain names
NO_FUNCTIONS = {"metadata", "dsl_definitions"}


def _pattern(path: str) -> str:
    """Return *path* with every name that users choose as ``*``, as far as the schema knows the place."""
    wanted = path.split("/")
    for place in _open_places(schema.BLUEPRINT):
        steps = place.split("/")
        if len(steps) == len(wanted) and all(a in ("*", b) for a, b in zip(steps, wanted, strict=True)):
            return place
    raise AssertionError(f"the schema has no place {path}")


PLAIN = {
    "node_types/*/runtime_properties/*/default",
    "workflows/*/availability_rules/node_instances_active/*",
    "deployment_settings/default_schedules/*",
    "deployment_settings/default_groups/*",
}


def _open_places(shape: Shape, path: tuple[str, ...] = ()) -> Iterator[str]:
    for place in _places(shape, path):
        if place not in PLAIN and "/constraints/" not in place:
            yield place


def _places(shape: Shape, path: tuple[str, ...]) -> Iterator[str]:
    if isinstance(shape, Leaf) and {dict, list} & set(shape.kinds):
        whole = shape.kinds in ((dict,), (list,))
        yield "/".join((*path, "*") if whole else path)
    elif isinstance(shape, Record):
        for name, field in shape.fields.items():
            yield from _places(field.shape, (*path, name))
    elif isinstance(shape, MapOf):
        yield from _places(shape.entry, (*path, "*"))
    elif isinstance(shape, ListOf):
        yield from _places(shape.item, (*path, "*"))
    elif isinstance(shape, TextOr):
        yield from _places(shape.other, path)


@pytest.mark.parametrize(
    "asked",
    [
        {"get_input": {"concat": ["no", "such"]}},
        {"get_input": [{"concat": ["no", "such"]}, "k"]},
        {"get_input": {"get_input": "declared"}},
        {"get_input": [5]},
        {"get_input": {"string_split": ["nosuch-x", "-"]}},
    ],
)
def test_an_undeclared_input_that_functions_name_is_refused(directory: Path, asked: Any) -> None:
    """Its name is known once the functions inside are evaluated."""
    with pytest.raises(InvalidBlueprintError, match="which is no input"):
        load_plain(with_value("outputs/o/value", asked), directory)


@pytest.mark.parametrize("value", [[["declared"]], [{"k": 1}], [], {"k": 1}])
def test_what_functions_give_as_a_name_must_be_one(directory: Path, value: Any) -> None:
    """Arguments are checked once more when the functions inside are evaluated."""
    blueprint = with_value("outputs/o/value", {"get_input": {"get_input": "other"}})
    with pytest.raises(InvalidBlueprintError, match="get_input takes"):
        load_plain(blueprint, directory, inputs={"other": value})


def test_a_declared_input_that_functions_name_has_its_value(directory: Path) -> None:
    """The name may be put together."""
    asked = {"get_input": {"concat": ["dec", "lared"]}}
    assert load_plain(with_value("outputs/o/value", asked), directory).outputs == {"o": 1}


def test_a_node_that_functions_name_is_looked_for_when_it_is_known(directory: Path) -> None:
    """Before that it may be any."""
    known = {"get_property": [{"concat": ["", "n"]}, "p"]}
    assert load_plain(with_value("outputs/o/value", known), directory).outputs == {"o": 1}
    waiting = {"get_attribute": [{"concat": ["", "n"]}, "p"]}
    assert load_plain(with_value("outputs/o/value", waiting), directory).outputs == {
        "o": {"get_attribute": ["n", "p"]}
    }
    with pytest.raises(InvalidBlueprintError, match="get_property asks for 'nosuch'"):
        load_plain(
            with_value("outputs/o/value", {"get_property": [{"concat": ["no", "such"]}, "p"]}), directory
        )


ARGUMENTS = st.recursive(
    st.sampled_from(["n", "declared", "nosuch", "SELF", "k", "", 0, -7, 2.5, True, None]),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(st.sampled_from(["k", "type", *sorted(FUNCTIONS)]), inner, max_size=2)
    ),
    max_leaves=8,
)


NAMED = st.lists(
    st.builds(lambda name, inner: {name: inner}, st.sampled_from(sorted(FUNCTIONS)), ARGUMENTS) | ARGUMENTS,
    min_size=1,
    max_size=3,
)


@settings(max_examples=150, suppress_health_check=list(HealthCheck))
@given(
    function=st.sampled_from(sorted(FUNCTIONS)), arguments=ARGUMENTS | NAMED, path=st.sampled_from(REFUSED)
)
def test_any_arguments_are_understood_or_refused(
    tmp_path: Path, function: str, arguments: Any, path: str
) -> None:
    """No blueprint ends in a traceback."""
    with suppress(InvalidBlueprintError):
        load_plain(with_value(path, {function: arguments}), tmp_path)


@pytest.mark.skipif(not CASES.exists(), reason="the cases are not at ../shared/cases")
def test_the_case_from_a_public_blueprint_is_refused() -> None:
    """An input's default that asks for an input which nobody declares."""
    with pytest.raises(InvalidBlueprintError, match=r"bp\.yaml:4:.*'nosuch', which is no input"):
        load_blueprint(CASES / "4-unknown-input-in-input-default" / "bp.yaml", imports=ImportPolicy())

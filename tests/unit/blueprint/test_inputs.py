"""Inputs are checked before anything relies on them."""

from __future__ import annotations

from typing import Any

import pytest

TYPED = """\
inputs:
  a: {{{schema}}}
node_types: {{t: {{derived_from: cloudify.nodes.Root, properties: {{p: {{}}}}}}}}
node_templates: {{app: {{type: t, properties: {{p: {{get_input: a}}}}}}}}
"""


def typed(schema: str) -> str:
    return TYPED.format(schema=schema)


def test_a_given_input_wins_over_its_default(load: Any) -> None:
    """Defaults are for what nobody gives."""
    assert load(typed("default: 1")).nodes["app"].properties["p"] == 1
    assert load(typed("default: 1"), inputs={"a": 2}).nodes["app"].properties["p"] == 2


def test_an_optional_input_is_null(load: Any) -> None:
    """Nothing is asked for what is not required."""
    assert load(typed("required: false")).nodes["app"].properties["p"] is None


def test_a_data_type_completes_an_input(load: Any) -> None:
    """Given values and defaults join, also when nothing is given at all."""
    text = "data_types: {d: {properties: {x: {default: 1}, y: {default: 2}}}}\n" + typed("type: d")
    assert load(text, inputs={"a": {"y": 3}}).nodes["app"].properties["p"] == {"x": 1, "y": 3}
    assert load(text).nodes["app"].properties["p"] == {"x": 1, "y": 2}


def test_missing_and_unknown_inputs_are_told_together(problems: Any) -> None:
    """One round is enough to get the inputs right."""
    assert problems(typed("description: where it lives"), inputs={"b": 1}) == [
        "inputs:0:0: there is no input 'b'; inputs are: a",
        "blueprint.yaml:5:3: the required input 'a' is missing (where it lives); give it: -i a=VALUE",
    ]


@pytest.mark.parametrize(
    ("kind", "good", "bad"),
    [
        ("integer", 3, "x"),
        ("integer", 3, True),
        ("float", 1.5, "x"),
        ("boolean", True, 1),
        ("list", [1], {}),
        ("dict", {}, [1]),
        ("regex", "a+", "("),
    ],
)
def test_an_input_has_its_type(load: Any, problems: Any, kind: str, good: Any, bad: Any) -> None:
    """The type is named, the value is not: it may be a secret."""
    assert load(typed(f"type: {kind}"), inputs={"a": good}).values["a"] == good
    [problem] = problems(typed(f"type: {kind}"), inputs={"a": bad})
    assert problem.startswith(f"inputs:0:0: input 'a' must be of type '{kind}', not ")


@pytest.mark.parametrize(
    ("constraint", "good", "bad"),
    [
        ("equal: 3", 3, 4),
        ("greater_than: 3", 4, 3),
        ("greater_or_equal: 3", 3, 2),
        ("less_than: 3", 2, 3),
        ("less_or_equal: 3", 3, 4),
        ("in_range: [1, 3]", 2, 4),
        ("valid_values: [x, y]", "x", "z"),
        ("length: 2", "ab", "a"),
        ("min_length: 2", "ab", "a"),
        ("max_length: 2", [1, 2], [1, 2, 3]),
        ("pattern: '[a-z]+'", "ab", "1"),
        ("greater_than: {concat: [3]}", None, 4),
    ],
)
def test_a_constraint_is_met(load: Any, problems: Any, constraint: str, good: Any, bad: Any) -> None:
    """Every constraint of the DSL that can be tested without a manager is tested."""
    text = typed(f"constraints: [{{{constraint}}}]")
    if good is not None:
        assert load(text, inputs={"a": good}).values["a"] == good
    [problem] = problems(text, inputs={"a": bad})
    assert problem.startswith("inputs:0:0: input 'a' ")


def test_the_author_says_what_a_constraint_means(problems: Any) -> None:
    """A constraint's own message is shown."""
    text = typed("constraints: [{pattern: '[0-9]+', error_message: digits only}]")
    assert problems(text, inputs={"a": "x"}) == ["inputs:0:0: input 'a' is not valid: digits only"]


def test_items_of_a_list_are_checked_one_by_one(problems: Any) -> None:
    """Type and constraints of a list's items name the item."""
    text = typed("type: list, item_type: integer, constraints: [{less_than: 5}]")
    assert problems(text, inputs={"a": [1, "x"]}) == [
        "inputs:0:0: input 'a'[1] must be of type 'integer', not a string",
        "inputs:0:0: input 'a'[1] cannot be compared by 'less_than'",
    ]


def test_a_default_that_violates_its_constraint_is_refused(problems: Any) -> None:
    """The blueprint itself is wrong then, whatever is given."""
    [problem] = problems(typed("default: 7, constraints: [{less_than: 5}]"), inputs={"a": 1})
    assert problem == "blueprint.yaml:5:16: input 'a' violates less_than: 5"

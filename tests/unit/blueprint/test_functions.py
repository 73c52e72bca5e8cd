"""Intrinsic functions: those of inputs and properties at once, the others in a live deployment."""

from __future__ import annotations

import random
from collections.abc import Mapping
from typing import Any

import pytest

from quiesce.blueprint import instantiate
from quiesce.blueprint.evaluating.evaluator import Scope
from quiesce.blueprint.evaluating.live import DeploymentView, evaluate
from quiesce.blueprint.evaluating.pure_functions import PURE_FUNCTIONS
from quiesce.blueprint.reading.functions import PURE
from quiesce.blueprint.reading.problems import FunctionError
from quiesce.model.ids import InstanceId, Json
from quiesce.model.topology import Topology

ONE = """\
inputs: {{one: {{default: {{list: [1, {{deep: x}}]}}}}, name: {{default: list}}, text: {{default: a-b}}}}
node_types:
  t: {{derived_from: cloudify.nodes.Root, properties: {{p: {{required: false}}, q: {{default: 7}}}}}}
node_templates:
  app: {{type: t, properties: {{p: {value}}}}}
  other: {{type: t, properties: {{p: {{nested: [{{get_property: [SELF, q]}}]}}, q: 8}}}}
"""


@pytest.mark.parametrize(
    ("value", "result"),
    [
        ("{get_input: name}", "list"),
        ("{get_input: [one, list, 1, deep]}", "x"),
        ("{get_input: [one, {get_input: name}, 0]}", 1),
        ("{get_property: [SELF, q]}", 7),
        ("{get_property: [other, q]}", 8),
        ("{get_property: [other, p, nested, 0]}", 8),
        ("{get_property: [other, p]}", {"nested": [8]}),
        ("{concat: [x, {get_input: text}, 1]}", "xa-b1"),
        ("{concat: []}", ""),
        ("{merge: [{a: 1, b: 1}, {b: {get_input: name}}]}", {"a": 1, "b": "list"}),
        ("{string_find: [{get_input: text}, b]}", 2),
        ("{string_replace: [{get_input: text}, '-', '+']}", "a+b"),
        ("{string_replace: [a-a-a, a, b, 2]}", "b-b-a"),
        ("{string_split: [{get_input: text}, '-']}", ["a", "b"]),
        ("{string_split: [{get_input: text}, '-', 1]}", "b"),
        ("{string_split: [{get_input: text}, '-', -2]}", "a"),
        ("{string_upper: {get_input: text}}", "A-B"),
        ("{string_lower: X}", "x"),
        ("[{a: {concat: [x, y]}}]", [{"a": "xy"}]),
        ("{get_secret: key}", {"get_secret": "key"}),
        ("{get_secret: {get_input: name}}", {"get_secret": "list"}),
        (
            "{concat: [{get_input: name}, {get_attribute: [other, ip]}]}",
            {"concat": ["list", {"get_attribute": ["other", "ip"]}]},
        ),
        ("{string_upper: {get_secret: key}}", {"string_upper": {"get_secret": "key"}}),
        ("{get_property: [SELF, p]}", {"get_property": ["SELF", "p"]}),
    ],
)
def test_what_needs_no_live_deployment_is_evaluated(load: Any, value: str, result: Json) -> None:
    """Everything else stays as written, its arguments evaluated."""
    assert load(ONE.format(value=value)).nodes["app"].properties["p"] == result


@pytest.mark.parametrize(
    ("value", "problem"),
    [
        ("{get_input: nam}", "get_input asks for 'nam', which is no input; did you mean 'name'?"),
        ("{get_input: [one, nothing]}", "the input 'one' has nothing at nothing: no 'nothing'"),
        (
            "{get_property: [othr, p]}",
            "get_property asks for 'othr', which is no node; did you mean 'other'?",
        ),
        ("{get_property: [TARGET, p]}", "get_property cannot use TARGET in a node"),
        ("{get_property: [other, r]}", "node 'other' has nothing at r: no 'r'"),
        ("{get_attribute: [nobody, p]}", "get_attribute asks for 'nobody', which is no node; nodes are"),
        ("{get_attribute: other}", "get_attribute takes a list of a node and a path within it, not 'other'"),
        ("{get_sys: [deployment, color]}", "get_sys has no 'color' of 'deployment'"),
        ("{get_consumers: colors}", "get_consumers takes one of ids, names, count"),
        ("{concat: text}", "concat takes a list"),
        ("{merge: [text]}", "merge takes a list of mappings"),
        ("{merge: [{get_input: text}]}", "merge takes mappings, not a string"),
        ("{string_split: [a-b, '-', 7]}", "the parts of the text has nothing at 7"),
        ("{string_split: [a-b, '']}", "string_split needs a separator that is not empty"),
        ("{string_upper: {get_input: one}}", "string_upper takes strings, not a mapping"),
        ("{get_input: text, type: integer}", "get_input must give a value of type 'integer', not a string"),
    ],
)
def test_a_wrong_function_names_its_place(problems: Any, value: str, problem: str) -> None:
    """The place is that of the function, not of the node."""
    [found] = problems(ONE.format(value=value))
    assert found.startswith(f"blueprint.yaml:8:34: {problem}")


def test_functions_that_lead_to_one_another_end(problems: Any) -> None:
    """A circle of properties is an error, not an endless loop."""
    found = problems(
        """\
node_types: {t: {derived_from: cloudify.nodes.Root, properties: {p: {}, q: {}}}}
node_templates:
  app: {type: t, properties: {p: {get_property: [SELF, q]}, q: {concat: [{get_property: [SELF, p]}]}}}
"""
    )
    assert all("get_property refers to itself without end" in each for each in found)


def test_functions_cannot_make_endless_text(problems: Any) -> None:
    """A few lines cannot fill the memory."""
    sources = [{"get_input": "x"}, *({"get_property": ["app", f"p{level}"]} for level in range(1, 9))]
    levels = ", ".join(f"p{level}: {{concat: {[source] * 10}}}" for level, source in enumerate(sources, 1))
    declared = ", ".join(f"p{n + 1}: {{}}" for n in range(9))
    [problem, *_] = problems(
        f"inputs: {{x: {{default: {'y' * 10000}}}}}\n"
        f"node_types: {{t: {{derived_from: cloudify.nodes.Root, properties: {{{declared}}}}}}}\n"
        f"node_templates: {{app: {{type: t, properties: {{{levels}}}}}}}\n"
    )
    assert "the functions make a string of more than 1000000 characters" in problem


TWO = """\
node_types:
  t:
    derived_from: cloudify.nodes.Root
    properties: {p: {default: {get_attribute: [SELF, ip]}}, zone: {default: z}}
node_templates:
  db: {type: t, instances: {deploy: 2}}
  web:
    type: t
    instances: {deploy: 2}
    relationships: [{type: cloudify.relationships.contained_in, target: db}]
  one: {type: t}
inputs: {secret_input: {default: {get_secret: plain}}}
capabilities: {address: {value: {a: {get_attribute: [one, ip]}}}}
"""


@pytest.fixture
def topology(load: Any) -> Topology:
    return instantiate(load(TWO), random.Random(3).choice)


def live(topology: Topology, itself: str | None) -> DeploymentView:
    stored: dict[str, Mapping[str, Json]] = {
        instance: {"ip": f"ip-of-{instance}", "nested": [{"x": {"get_attribute": ["SELF", "ip"]}}]}
        for instance in topology.instances
    }
    secrets = {"plain": "p4ss", "json": '{"user": ["me"]}'}
    return DeploymentView(
        name="shop",
        blueprint="shop.yaml",
        topology=topology,
        scope=Scope(itself=itself),
        stored=lambda instance: stored[instance],
        secrets=secrets.__getitem__,
        label_values={"env": ["test", "eu"]},
        others=lambda deployment, name: {"of": [deployment, name]},
    )


def instances(topology: Topology, node: str) -> list[InstanceId]:
    return [instance.id for instance in topology.instances.values() if instance.node == node]


@pytest.mark.parametrize(
    ("value", "result"),
    [
        ({"get_attribute": ["SELF", "node_instance_index"]}, 1),
        ({"get_attribute": ["SELF", "zone"]}, "z"),
        ({"get_attribute": ["SELF", "nothing"]}, None),
        ({"get_secret": "plain"}, "p4ss"),
        ({"get_secret": ["json", "user", 0]}, "me"),
        ({"get_input": "secret_input"}, "p4ss"),
        ({"concat": ["x-", {"string_upper": {"get_secret": "plain"}}]}, "x-P4SS"),
        ({"get_capability": ["other", "x", "of", 1]}, "x"),
        ({"get_label": "env"}, ["test", "eu"]),
        ({"get_label": ["env", 1]}, "eu"),
        ({"get_sys": ["deployment", "id"]}, "shop"),
        ({"merge": [{"a": {"get_secret": "plain"}}, {"b": 1}]}, {"a": "p4ss", "b": 1}),
        ("plain data", "plain data"),
    ],
)
def test_a_live_deployment_answers(topology: Topology, value: Json, result: Json) -> None:
    """Attributes, secrets, capabilities and labels are there when an operation runs."""
    assert evaluate(value, live(topology, instances(topology, "one")[0])) == result


def test_attributes_belong_to_instances(topology: Topology) -> None:
    """SELF is the instance; another node's is the only one, or the one that SELF is linked to."""
    web = topology.instances[instances(topology, "web")[2]]
    asked = live(topology, web.id)
    assert evaluate({"get_attribute": ["SELF", "ip"]}, asked) == f"ip-of-{web.id}"
    assert evaluate({"get_attribute": ["db", "ip"]}, asked) == f"ip-of-{web.links[0].target}"
    assert evaluate({"get_attribute": ["one", "ip"]}, asked) == f"ip-of-{instances(topology, 'one')[0]}"
    assert evaluate({"get_attribute": ["SELF", "nested", 0, "x"]}, asked) == f"ip-of-{web.id}"
    assert evaluate({"get_property": ["db", "p"]}, asked) == f"ip-of-{web.links[0].target}"
    assert (
        evaluate({"get_capability": ["shop", "address", "a"]}, asked)
        == f"ip-of-{instances(topology, 'one')[0]}"
    )


def test_an_ambiguous_instance_is_an_error(topology: Topology) -> None:
    """Nothing is guessed."""
    with pytest.raises(
        FunctionError, match="node 'db' has 2 instances, and it is ambiguous which one is meant"
    ):
        evaluate({"get_attribute": ["db", "ip"]}, live(topology, instances(topology, "one")[0]))


def test_all_instances_of_a_node_can_be_asked(topology: Topology) -> None:
    """As a list, or by instance."""
    asked = live(topology, instances(topology, "one")[0])
    ids = instances(topology, "db")
    assert evaluate({"get_attributes_list": ["db", "ip"]}, asked) == [f"ip-of-{each}" for each in ids]
    assert evaluate({"get_attributes_dict": ["db", "zone", ["nested", 0, "x"]]}, asked) == {
        each: {"zone": "z", "nested.0.x": f"ip-of-{each}"} for each in ids
    }


def test_an_instance_is_found_in_the_same_copy_of_a_scaling_group(load: Any) -> None:
    """A group's copies do not see one another."""
    topology = instantiate(
        load(
            """\
node_templates: {web: {type: cloudify.nodes.Root}, db: {type: cloudify.nodes.Root}}
groups: {unit: {members: [web, db]}}
policies: {scale: {type: cloudify.policies.scaling, targets: [unit], properties: {default_instances: 3}}}
"""
        ),
        random.Random(1).choice,
    )
    for web in instances(topology, "web"):
        found = str(evaluate({"get_attribute": ["db", "ip"]}, live(topology, web))).removeprefix("ip-of-")
        assert topology.instances[InstanceId(found)].groups == topology.instances[web].groups


@pytest.mark.parametrize(
    "value",
    [
        {"get_environment_capability": "x"},
        {"get_group_capability": ["g", "x"]},
        {"get_consumers": "ids"},
        {"get_sys": ["tenant", "name"]},
    ],
)
def test_what_only_a_manager_knows_is_an_error(topology: Topology, value: Json) -> None:
    """The message says so."""
    with pytest.raises(FunctionError, match="can only be answered by a Cloudify Manager"):
        evaluate(value, live(topology, None))


def test_no_secret_is_in_a_blueprint_or_a_message(topology: Topology) -> None:
    """Secrets are read when an operation runs, and errors do not repeat them."""
    assert topology.inputs == {"secret_input": {"get_secret": "plain"}}
    with pytest.raises(FunctionError) as caught:
        evaluate({"string_split": [{"get_secret": "plain"}, "-", 9]}, live(topology, None))
    assert "p4ss" not in str(caught.value)


def test_every_function_of_its_arguments_alone_can_be_evaluated() -> None:
    """What is read as such a function and what is evaluated as one are the same names."""
    assert set(PURE_FUNCTIONS) == PURE

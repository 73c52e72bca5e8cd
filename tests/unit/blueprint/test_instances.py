"""A new deployment gets the instances that the blueprint asks for, linked as its relationships say."""

from __future__ import annotations

import random
import re
from collections import Counter
from typing import Any

import pytest

from quiesce.blueprint import InvalidBlueprintError, instantiate
from quiesce.model.topology import Topology


def counts(topology: Topology) -> dict[str, int]:
    return dict(Counter(instance.node for instance in topology.instances.values()))


def test_ids_are_the_node_and_six_characters(topology: Any) -> None:
    """As Cloudify makes them, and never twice."""
    made = topology("node_templates: {app: {type: cloudify.nodes.Root, instances: {deploy: 50}}}\n")
    assert len(made.instances) == 50
    assert all(re.fullmatch(r"app_[a-z0-9]{6}", instance) for instance in made.instances)


def test_the_same_choices_make_the_same_ids(load: Any) -> None:
    """Randomness is handed in."""
    blueprint = load("node_templates: {app: {type: cloudify.nodes.Root, instances: {deploy: 3}}}\n")
    first, second = (instantiate(blueprint, random.Random(7).choice) for _ in range(2))
    assert first == second


def test_a_clash_of_ids_is_avoided(load: Any) -> None:
    """A choice that makes a known id is made again."""
    blueprint = load("node_templates: {app: {type: cloudify.nodes.Root, instances: {deploy: 2}}}\n")
    choices = iter("aaaaaaaaaaaabbbbbb")
    assert set(instantiate(blueprint, lambda _: next(choices)).instances) == {"app_aaaaaa", "app_bbbbbb"}


def test_contained_nodes_multiply(topology: Any) -> None:
    """Each instance of a container holds the whole count, and the link leads to it."""
    made = topology(
        """\
node_templates:
  host: {type: cloudify.nodes.Compute, instances: {deploy: 2}}
  vm:
    type: cloudify.nodes.Compute
    instances: {deploy: 3}
    relationships: [{type: cloudify.relationships.contained_in, target: host}]
  app: {type: cloudify.nodes.Root, relationships: [{type: cloudify.relationships.contained_in, target: vm}]}
"""
    )
    assert counts(made) == {"host": 2, "vm": 6, "app": 6}
    homes = Counter(
        made.instances[i].links[0].target for i in made.instances if made.instances[i].node == "vm"
    )
    assert set(homes.values()) == {3}
    assert all(link.contained for instance in made.instances.values() for link in instance.links)


@pytest.mark.parametrize(("kind", "links"), [("all_to_all", 6), ("all_to_one", 2)])
def test_connected_nodes_link_to_all_or_to_one(topology: Any, kind: str, links: int) -> None:
    """All of the sources agree on the one."""
    made = topology(
        f"""\
node_templates:
  db: {{type: cloudify.nodes.Root, instances: {{deploy: 3}}}}
  app:
    type: cloudify.nodes.Root
    instances: {{deploy: 2}}
    relationships:
      - {{type: cloudify.relationships.connected_to, target: db, properties: {{connection_type: {kind}}}}}
"""
    )
    found = [link for instance in made.instances.values() for link in instance.links]
    assert len(found) == links
    assert not any(link.contained for link in found)
    assert len({link.target for link in found}) == (3 if kind == "all_to_all" else 1)


GROUPED = """\
node_templates:
  host: {type: cloudify.nodes.Compute, instances: {deploy: 2}}
  db: {type: cloudify.nodes.Root}
  app:
    type: cloudify.nodes.Root
    relationships:
      - {type: cloudify.relationships.contained_in, target: host}
      - {type: cloudify.relationships.connected_to, target: db%s}
groups: {inner: {members: [host, app, db]}, outer: {members: [inner]}}
policies:
  one: {type: cloudify.policies.scaling, targets: [inner], properties: {default_instances: 2}}
  two: {type: cloudify.policies.scaling, targets: [outer], properties: {default_instances: 3}}
"""


def test_members_of_a_scaling_group_multiply_together(topology: Any) -> None:
    """Copies of groups hold their own instances, and connections stay within a copy."""
    made = topology(GROUPED % "")
    assert counts(made) == {"host": 12, "db": 6, "app": 12}
    for instance in made.instances.values():
        assert [re.sub(r"_.*", "", group) for group in instance.groups] == ["inner", "outer"]
        for link in instance.links:
            assert made.instances[link.target].groups == instance.groups


def test_one_for_all_is_refused_within_a_group(load: Any) -> None:
    """There would be no telling which."""
    blueprint = load(GROUPED % ", properties: {connection_type: all_to_one}")
    with pytest.raises(InvalidBlueprintError, match="'all_to_one' cannot connect 'app' to 'db' in 'inner'"):
        instantiate(blueprint, random.Random(1).choice)


def test_a_member_scales_with_its_container_in_the_group(load: Any) -> None:
    """It is not multiplied twice."""
    assert load(GROUPED % "").groups["inner"].members == ("host", "db")


def test_a_count_may_be_an_input(topology: Any) -> None:
    """Counts are functions of inputs too."""
    text = """\
inputs: {n: {default: 2}}
node_templates:
  app:
    type: cloudify.nodes.Root
    capabilities: {scalable: {properties: {default_instances: {get_input: n}}}}
"""
    assert counts(topology(text)) == {"app": 2}
    assert counts(topology(text, inputs={"n": 5})) == {"app": 5}


def test_too_many_instances_are_refused(load: Any) -> None:
    """Before they are made."""
    blueprint = load(
        """\
node_templates:
  host: {type: cloudify.nodes.Compute, instances: {deploy: 100000}}
  app:
    type: cloudify.nodes.Root
    instances: {deploy: 100000}
    relationships: [{type: cloudify.relationships.contained_in, target: host}]
"""
    )
    with pytest.raises(InvalidBlueprintError, match="more than 50000 instances"):
        instantiate(blueprint, random.Random(1).choice)

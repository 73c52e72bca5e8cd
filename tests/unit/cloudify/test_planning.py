"""What is asked of providers where the workflow runs, and what only an agent could answer."""

from __future__ import annotations

from dataclasses import replace

import pytest

from quiesce.cloudify.names import CLOUDIFYS
from quiesce.cloudify.planning import with_agents_apart
from quiesce.model.ids import InstanceId, NodeId, StepId
from quiesce.model.operation import FS_PREPARE, Operation
from quiesce.model.parameters import Parameters
from quiesce.model.plan import Group, Plan, Step
from quiesce.model.topology import Implementation, Instance, Node, Topology


def topology(executor: str | None) -> Topology:
    function = Implementation(plugin="quiesce", function="quiesce.host.freeze", executor=executor)
    node = Node(id=NodeId("n"), type="t", type_hierarchy=("t",), operations={FS_PREPARE: function})
    instance = Instance(id=InstanceId("n_1"), node=node.id)
    return Topology(nodes={node.id: node}, instances={instance.id: instance})


FREEZE = Step(
    id=StepId("n_1.freeze"),
    instance=InstanceId("n_1"),
    node=NodeId("n"),
    operation=Operation.FREEZE,
    interface=FS_PREPARE,
    provider="host",
    function="quiesce.host.freeze",
    group=0,
)
PLAN = Plan(
    workflow="backup",
    parameters=Parameters(),
    groups=(Group(title="freeze", operation=Operation.FREEZE),),
    steps=(FREEZE,),
)


@pytest.mark.parametrize(
    ("executor", "asked"),
    [("host_agent", CLOUDIFYS), ("central_deployment_agent", "host"), (None, "host")],
)
def test_what_an_agent_performs_is_asked_of_nobody_here(executor: str | None, asked: str) -> None:
    assert with_agents_apart(PLAN, topology(executor)).steps == (replace(FREEZE, provider=asked),)


def test_what_the_blueprint_does_not_declare_is_asked_here() -> None:
    undeclared = replace(FREEZE, interface="quiesce.interfaces.restore.stop", declared=False)
    plan = replace(PLAN, steps=(undeclared,))
    assert with_agents_apart(plan, topology("host_agent")) == plan

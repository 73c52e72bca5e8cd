"""Deployments on the stand-in, run by quiesce itself in this process."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from fakegce.estate import PROJECT, ZONE
from quiesce.app.run.execution import NoGuard, Watching
from quiesce.app.run.run import Result, run_workflow
from quiesce.bootstrap import Application, Settings
from quiesce.model.deployment import Deployment
from quiesce.model.ids import DeploymentName, InstanceId, Json, NodeId
from quiesce.model.request import WorkflowRequest
from quiesce.model.topology import Instance, Link, Node, Relationship, Topology

CONTAINED = "cloudify.relationships.contained_in"
CONNECTED = "cloudify.relationships.connected_to"


class Runs:
    """One home of quiesce, with one deployment in it."""

    def __init__(self, home: Path, url: str, *, guarded: bool = True) -> None:
        self.url = url
        self.settings = Settings(home=home, database_url=f"sqlite:///{home}/quiesce.db")
        home.mkdir(parents=True, exist_ok=True)
        self.application = Application(self.settings)
        #: without a guard where hundreds of restores are run that nothing kills: each would start a process
        self.services = replace(self.application.services, **({} if guarded else {"guard": NoGuard}))

    def config(self) -> dict[str, Json]:
        """Return what stands in ``gcp_config``."""
        return {"project": PROJECT, "zone": ZONE, "api_endpoint": self.url}

    def machine(self, name: str, **properties: Json) -> Node:
        """Return a node for a machine of that name."""
        return Node(
            id=NodeId(name),
            type="cloudify.gcp.nodes.Instance",
            type_hierarchy=(
                "cloudify.nodes.Root",
                "cloudify.nodes.Compute",
                "cloudify.nodes.gcp.Instance",
                "cloudify.gcp.nodes.Instance",
            ),
            properties={"name": name, "gcp_config": self.config(), **properties},
        )

    def disk(self, name: str, **properties: Json) -> Node:
        """Return a node for a disk of that name."""
        return Node(
            id=NodeId(name),
            type="cloudify.gcp.nodes.Volume",
            type_hierarchy=("cloudify.nodes.Root", "cloudify.nodes.Volume", "cloudify.gcp.nodes.Volume"),
            properties={"name": name, "gcp_config": self.config(), **properties},
        )

    def service(self, name: str, host: str) -> Node:
        """Return a node for a service that can be frozen, in memory, contained in *host*."""
        return Node(
            id=NodeId(name),
            type="quiesce.nodes.fake.Service",
            type_hierarchy=("cloudify.nodes.Root", "quiesce.nodes.fake.Service"),
            relationships=(Relationship(target=NodeId(host), type=CONTAINED, type_hierarchy=(CONTAINED,)),),
        )

    def deploy(self, nodes: Sequence[Node], name: str = "lab") -> None:
        """Keep a deployment with one instance of each node; its id is the node's with ``_1``."""
        instances = [
            Instance(
                id=InstanceId(f"{node.id}_1"),
                node=node.id,
                links=tuple(
                    Link(
                        target=InstanceId(f"{relationship.target}_1"),
                        type=relationship.type,
                        contained=relationship.type == CONTAINED,
                    )
                    for relationship in node.relationships
                ),
            )
            for node in nodes
        ]
        topology = Topology(
            nodes={node.id: node for node in nodes},
            instances={instance.id: instance for instance in instances},
        )
        deployment = Deployment(
            name=DeploymentName(name),
            blueprint="",
            blueprint_dir="",
            created_at=time.time(),
            topology=topology,
        )
        self.application.services.deployments.add(deployment, {})

    def run(self, workflow: str, *, deployment: str = "lab", **parameters: Json) -> Result:
        """Run a workflow to its end."""
        request = WorkflowRequest(
            deployment=deployment, workflow=workflow, parameters=parameters, allow_custom_parameters=True
        )
        return run_workflow(self.services, request, Watching())

    def runtime_properties(self, instance: str, deployment: str = "lab") -> Mapping[str, Json]:
        """Return what is kept of an instance."""
        kept = self.application.services.deployments.runtime_properties(DeploymentName(deployment))
        return kept.get(InstanceId(instance), {})

    def close(self) -> None:
        """Release everything."""
        self.application.close()

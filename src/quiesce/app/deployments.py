"""Make and forget deployments."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from quiesce.app.services import Services
from quiesce.errors import PlanError
from quiesce.model.deployment import Deployment
from quiesce.model.ids import ExecutionId, InstanceId, Json, deployment_name
from quiesce.model.topology import Topology


def add_deployment(
    services: Services,
    name: str,
    topology: Topology,
    *,
    blueprint: str,
    blueprint_dir: str,
    runtime_properties: Mapping[InstanceId, Mapping[str, Json]] | None = None,
) -> Deployment:
    """Keep a new deployment under *name*.

    Raises:
        UsageError: when the name is not allowed, or taken.
    """
    deployment = Deployment(
        name=deployment_name(name),
        blueprint=blueprint,
        blueprint_dir=blueprint_dir,
        created_at=services.clock.now(),
        topology=topology,
    )
    services.deployments.add(deployment, runtime_properties or {})
    return deployment


def take_over_deployment(
    services: Services,
    name: str,
    topology: Topology,
    *,
    blueprint: str,
    blueprint_dir: str,
    runtime_properties: Mapping[InstanceId, Mapping[str, Json]],
) -> Deployment:
    """Keep a deployment that another engine has installed, under *name*.

    One that is known already, because that engine has run workflows of ours on it (or it was taken over
    before), is read anew; its restore points stay.

    Raises:
        UsageError: when the name is not allowed, or another deployment has it.
        BusyError: when an execution runs on it.
    """
    taken = Deployment(
        name=deployment_name(name),
        blueprint=blueprint,
        blueprint_dir=blueprint_dir,
        created_at=services.clock.now(),
        topology=topology,
    )
    known = services.deployments.get(name) if name in services.deployments.names() else None
    if known is None or known.blueprint != blueprint:
        services.deployments.add(taken, runtime_properties)
        return taken
    lease = services.leases.acquire(known.name, ExecutionId("init"))
    try:
        taken = replace(taken, created_at=known.created_at)
        services.deployments.renew(taken, runtime_properties)
    finally:
        lease.release()
    return taken


def remove_deployment(services: Services, name: str, *, force: bool) -> None:
    """Forget a deployment: what it is, its executions, its catalog. Nothing on any platform is touched.

    Raises:
        BusyError: when an execution runs on it.
        PlanError: unless *force*, when there are restore points, or a thaw is owed.
    """
    deployment = services.deployments.get(name)
    lease = services.leases.acquire(deployment.name, ExecutionId("deployments-remove"))
    try:
        points = services.catalog.list(deployment.name)
        if points and not force:
            raise PlanError(
                f"{name} has {len(points)} restore points, which would be forgotten",
                hint=f"Remove them first: quiesce remove-backup {name} -p all=true; or say --force",
            )
        owing = [e.id for e in services.executions.open_ones(deployment.name) if e.owes]
        if owing and not force:
            raise PlanError(f"{', '.join(owing)} still owes a thaw", hint="Settle it first: quiesce recover")
        services.deployments.remove(deployment.name)
    finally:
        lease.release()

"""Check restore points and nodes without changing anything."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from quiesce.app.performing import AttemptContext, Performer
from quiesce.app.services import Services
from quiesce.engine import Attempt, timeout_s
from quiesce.errors import PlanError, ProviderError
from quiesce.model.deployment import Deployment
from quiesce.model.execution import Execution
from quiesce.model.ids import DeploymentName, ExecutionId, InstanceId, StepId
from quiesce.model.operation import FS_PREPARE, SNAPSHOT_CREATE, SNAPSHOT_DELETE, STATISTICS, Operation
from quiesce.model.plan import Plan, Step
from quiesce.model.restore_point import Proof, RestorePoint
from quiesce.model.topology import Instance
from quiesce.planning import plan_workflow, read_parameters
from quiesce.planning.binding import Binding, bind
from quiesce.ports import Examiner, Finding, Verifier


def verify(
    services: Services, deployment: str, name: str
) -> tuple[RestorePoint, Mapping[InstanceId, Proof | None]]:
    """Check every artifact of a restore point, and keep the result as a proof of it.

    An instance whose provider cannot check is answered with None.

    Raises:
        UnknownNameError: when there is no such deployment or restore point.
    """
    found = services.deployments.get(deployment)
    point = services.catalog.get(found.name, name)
    topology = found.topology
    plan = plan_workflow(
        "remove_backup",
        topology,
        services.descriptions,
        read_parameters("remove_backup", {"snapshot_name": point.name}, now=0.0),
        points=[point],
    )
    performer = Performer(services, found, _nobody(found.name, "verify"), plan, points=[point])
    results: dict[InstanceId, Proof | None] = {}
    for step in plan.steps:
        provider = services.provider(step.provider)
        if not isinstance(provider, Verifier):
            results[step.instance] = None
            continue
        results[step.instance] = _verified(services, provider, performer, step, plan)
    proofs = [proof for proof in results.values() if proof is not None]
    if proofs:
        failed = {i: p for i, p in results.items() if p is not None and not p.passed}
        detail = "; ".join(f"{instance}: {proof.detail}" for instance, proof in failed.items())
        services.catalog.add_proof(
            found.name,
            point.name,
            Proof(
                at=services.clock.now(),
                kind=proofs[0].kind,
                passed=not failed,
                detail=detail or f"{len(proofs)} of {len(point.artifacts)} instances checked",
            ),
        )
    return services.catalog.get(found.name, point.name), results


def _verified(services: Services, provider: Verifier, performer: Performer, step: Step, plan: Plan) -> Proof:
    context = _context(services, step, plan, performer)
    try:
        return provider.verify(performer.call_of(step), context)
    except ProviderError as error:
        return Proof(at=services.clock.now(), kind="checksums", passed=False, detail=str(error))


def examine(services: Services, deployment: str) -> Mapping[InstanceId, Sequence[Finding]]:
    """Ask every node whether it can really be frozen, snapshotted and thawed."""
    found = services.deployments.get(deployment)
    interfaces = (SNAPSHOT_CREATE, FS_PREPARE, SNAPSHOT_DELETE, STATISTICS)
    bindings = bind(found.topology.nodes.values(), services.descriptions, interfaces)
    performer = asker(services, found, "doctor")
    findings: dict[InstanceId, Sequence[Finding]] = {}
    for instance in found.topology.instances.values():
        bound = bindings[instance.node]
        binding = next((bound[interface] for interface in interfaces if interface in bound), None)
        if binding is None:
            findings[instance.id] = [
                Finding(check="operations", passed=True, detail="no operation of ours: it is passed over")
            ]
            continue
        findings[instance.id] = _examined(services, performer, question(instance, binding))
    return findings


def asker(services: Services, deployment: Deployment, why: str) -> Performer:
    """Return what makes calls that belong to no execution, for questions that change nothing."""
    plan = _no_plan(why)
    return Performer(services, deployment, _nobody(deployment.name, why), plan)


def question(instance: Instance, binding: Binding) -> Step:
    """Return a step that asks about *instance*; its operation is one that changes nothing."""
    return Step(
        id=StepId(f"{instance.id}.examine"),
        instance=instance.id,
        node=instance.node,
        operation=Operation.MEASURE,
        interface=STATISTICS,
        provider=binding.provider,
        function=binding.function,
        group=0,
        declared=False,
    )


def _examined(services: Services, performer: Performer, step: Step) -> Sequence[Finding]:
    try:
        provider = services.provider(step.provider)
        if not isinstance(provider, Examiner):
            return [
                Finding(
                    check="operations",
                    passed=True,
                    detail=f"{step.provider} runs what the blueprint brings; it cannot be tried beforehand",
                )
            ]
        context = _context(services, step, _no_plan("doctor"), performer)
        return provider.examine(performer.call_of(step), context)
    except (ProviderError, PlanError) as error:
        return [Finding(check="provider", passed=False, detail=str(error), remedy=error.hint)]


def _no_plan(workflow: str) -> Plan:
    parameters = read_parameters("statistics", {}, now=0.0)
    return Plan(workflow=workflow, parameters=parameters, groups=(), steps=())


def _nobody(deployment: DeploymentName, workflow: str) -> Execution:
    return Execution(
        id=ExecutionId(f"no-execution-{workflow}"), deployment=deployment, workflow=workflow, created_at=0.0
    )


def _context(services: Services, step: Step, plan: Plan, performer: Performer) -> AttemptContext:
    now = services.clock.tick()
    attempt = Attempt(
        ticket=0, step=step, number=1, began=now, deadline=now + timeout_s(step, plan.parameters)
    )
    return performer.context_of(attempt)

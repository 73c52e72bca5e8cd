"""Check the stored data of restore points without changing anything."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from quiesce.app.inquiry import Inquiry
from quiesce.app.services import Services
from quiesce.errors import ProviderError
from quiesce.model.ids import InstanceId
from quiesce.model.plan import Step
from quiesce.model.restore_point import Proof, RestorePoint
from quiesce.planning import REMOVE_BACKUP, plan_workflow, read_parameters
from quiesce.ports import Verifier


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
        REMOVE_BACKUP.name,
        topology,
        services.descriptions,
        read_parameters(REMOVE_BACKUP.name, {"snapshot_name": point.name}, now=0.0),
        points=[point],
    )
    inquiry = Inquiry(services, found, "verify", plan=plan, points=[point])
    results: dict[InstanceId, Proof | None] = {}
    for step in plan.steps:
        provider = services.provider(step.provider)
        if not isinstance(provider, Verifier):
            results[step.instance] = None
            continue
        results[step.instance] = _verified(services, provider, inquiry, step)
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


def _verified(services: Services, provider: Verifier, inquiry: Inquiry, step: Step) -> Proof:
    try:
        proof = provider.verify(inquiry.call_of(step), inquiry.context_of(step))
    except ProviderError as error:
        proof = Proof(at=services.clock.now(), kind="checksums", passed=False, detail=str(error))
    return replace(proof, detail=services.masking.text(proof.detail))

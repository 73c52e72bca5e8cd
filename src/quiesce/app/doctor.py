"""Ask every node of a deployment whether its operations can work; changes nothing."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from quiesce.app.inquiry import Inquiry, question
from quiesce.app.services import Services
from quiesce.errors import PlanError, ProviderError
from quiesce.model.ids import InstanceId
from quiesce.model.operation import FS_PREPARE, SNAPSHOT_CREATE, SNAPSHOT_DELETE, STATISTICS
from quiesce.model.plan import Step
from quiesce.planning import freezes_in_vain, vain_wait_text
from quiesce.planning.binding import bind
from quiesce.ports import Doctor, Finding


def run_doctor(services: Services, deployment: str) -> Mapping[InstanceId, Sequence[Finding]]:
    """Ask every node whether it can really be frozen, snapshotted and thawed."""
    found = services.deployments.get(deployment)
    interfaces = (SNAPSHOT_CREATE, FS_PREPARE, SNAPSHOT_DELETE, STATISTICS)
    bindings = bind(found.topology.nodes.values(), services.descriptions, interfaces)
    inquiry = Inquiry(services, found, "doctor")
    findings: dict[InstanceId, Sequence[Finding]] = {}
    for instance in found.topology.instances.values():
        bound = bindings[instance.node]
        binding = next((bound[interface] for interface in interfaces if interface in bound), None)
        if binding is None:
            findings[instance.id] = [
                Finding(
                    check="operations",
                    passed=True,
                    detail="it has no operation that quiesce runs, so it is skipped",
                )
            ]
            continue
        findings[instance.id] = _findings(services, inquiry, question(instance, binding))
    for name, paused in freezes_in_vain(found.topology, services.descriptions).items():
        findings[name] = [*findings[name], _waiting_in_vain(name, paused)]
    return findings


def _waiting_in_vain(instance: InstanceId, paused: Sequence[InstanceId]) -> Finding:
    return Finding(
        check="pause",
        passed=False,
        detail=vain_wait_text(instance, paused),
        remedy=f"If it does, make {', '.join(paused)} a quiesce.nodes.host.Process, which is not paused: "
        f"fs_prepare of {instance} holds its writers. If it never waits, all can stay as it is.",
    )


def _findings(services: Services, inquiry: Inquiry, step: Step) -> Sequence[Finding]:
    try:
        provider = services.provider(step.provider)
        if not isinstance(provider, Doctor):
            return [
                Finding(
                    check="operations",
                    passed=True,
                    detail=f"{step.provider} runs the blueprint's code, which cannot be checked in advance",
                )
            ]
        found = provider.doctor(inquiry.call_of(step), inquiry.context_of(step))
    except (ProviderError, PlanError) as error:
        found = [Finding(check="provider", passed=False, detail=str(error), remedy=error.hint)]
    mask = services.masking.text
    return [replace(each, detail=mask(each.detail), remedy=mask(each.remedy)) for each in found]

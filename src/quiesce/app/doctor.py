"""Ask every node of a deployment whether its operations can work; changes nothing."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path, PurePath

from quiesce.app.inquiry import Inquiry, question
from quiesce.app.repository_findings import examine_repositories
from quiesce.app.services import Services
from quiesce.errors import PlanError, ProviderError
from quiesce.files.trust import find_fault
from quiesce.model.deployment import Deployment
from quiesce.model.ids import InstanceId, NodeId
from quiesce.model.operation import FS_PREPARE, INTERFACES, SNAPSHOT_CREATE, SNAPSHOT_DELETE, STATISTICS
from quiesce.model.plan import Step
from quiesce.planning import freezes_in_vain, vain_wait_text
from quiesce.planning.binding import bind
from quiesce.ports import Doctor, Finding, PlaceTeller


def run_doctor(services: Services, deployment: str) -> Mapping[str, Sequence[Finding]]:
    """Ask every node whether it can really be frozen, snapshotted and thawed, and look at repositories."""
    found = services.deployments.get(deployment)
    interfaces = (SNAPSHOT_CREATE, FS_PREPARE, SNAPSHOT_DELETE, STATISTICS)
    bindings = bind(found.topology.nodes.values(), services.descriptions, interfaces)
    scripts = {node: _scripts(found, node) for node in bindings}
    inquiry = Inquiry(services, found, "doctor")
    findings: dict[str, Sequence[Finding]] = {}
    places: dict[InstanceId, str] = {}
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
        step = question(instance, binding)
        places[instance.id] = _place(services, inquiry, step)
        findings[instance.id] = [*_findings(services, inquiry, step), *scripts[instance.node]]
    for name, paused in freezes_in_vain(found.topology, services.descriptions).items():
        findings[name] = [*findings[name], _waiting_in_vain(name, paused)]
    for name, problem in _overlaps(places).items():
        findings[name] = [*findings[name], problem]
    return {**findings, **examine_repositories(services, found)}


def _place(services: Services, inquiry: Inquiry, step: Step) -> str:
    """Return the path on this machine that an instance's data are in; empty: none, or it cannot be said."""
    try:
        provider = services.provider(step.provider)
        return provider.place(inquiry.call_of(step)) if isinstance(provider, PlaceTeller) else ""
    except (ProviderError, PlanError):
        return ""


def _overlaps(places: Mapping[InstanceId, str]) -> Mapping[InstanceId, Finding]:
    """Tell of each instance which others save, and would replace, the same files."""
    found = {}
    for instance, place in places.items():
        others = [
            f"{other} ({'the same' if there == place else there})"
            for other, there in places.items()
            if other != instance and place and there and _share(PurePath(place), PurePath(there))
        ]
        if others:
            found[instance] = Finding(
                check="path",
                passed=False,
                detail=f"{place} is also saved by {', '.join(others)}: twice the room, and a restore of one "
                "replaces what the other has put there",
                remedy="Leave one of them out of the blueprint, or give each a directory of its own.",
            )
    return found


def _share(one: PurePath, other: PurePath) -> bool:
    return one.is_relative_to(other) or other.is_relative_to(one)


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


def _scripts(deployment: Deployment, node: NodeId) -> Sequence[Finding]:
    """Tell whose the files are that operations of *node* would run; others could have changed no one's."""
    operations = deployment.topology.nodes[node].operations
    named = {
        path
        for interface in INTERFACES
        if interface in operations
        for path in [operations[interface].inputs.get("script_path")]
        if isinstance(path, str)
    }
    return [_script(Path(deployment.blueprint_dir), path) for path in sorted(named)]


def _script(directory: Path, path: str) -> Finding:
    script = (directory / path.removeprefix("file://")).resolve()
    fault = find_fault(script)
    if fault is None:
        return Finding(check="script", passed=True, detail=f"nobody else can change {script}")
    return Finding(check="script", passed=False, detail=f"{script}: {fault.reason}", remedy=fault.remedy)

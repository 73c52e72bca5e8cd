"""Prove a restore point: write all of it into a scratch directory, check it there, measure it, remove it."""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from quiesce.app.points.naming import point_named
from quiesce.app.points.scratch import scratch_directory
from quiesce.app.points.verify import refuse_found_damaged, verify
from quiesce.app.services import Services
from quiesce.errors import DamagedError, ExecutionFailedError, PlanError, ProofFailedError, QuiesceError
from quiesce.isolation.shell import run_shell
from quiesce.model.deployment import Deployment
from quiesce.model.ids import InstanceId
from quiesce.model.operation import RESTORE_EXTRACT
from quiesce.model.request import WorkflowRequest
from quiesce.model.restore_point import RESTORED, PointState, Proof, RestorePoint
from quiesce.planning import EXTRACT
from quiesce.planning.binding import bind

#: how long an operator's check may take, in seconds
_CHECK_S: Final = 3600.0

#: runs a workflow to its end; returns what went wrong, or nothing
Run = Callable[[WorkflowRequest], QuiesceError | None]


@dataclass(frozen=True, slots=True, kw_only=True)
class ProofByRestore:
    """What came of proving a restore point."""

    point: RestorePoint
    proof: Proof
    #: from the first byte until the check had ended, in seconds
    seconds: float


def prove(
    services: Services, deployment: str, name: str, run: Run, *, scratch: Path, check: str = ""
) -> ProofByRestore:
    """Restore *name* below *scratch*, let the command *check* look at it, and keep the result as a proof.

    The command runs in the directory that holds one entry for each instance; its exit status decides. What
    was written is removed again, whatever comes of it. The deployment is not touched.

    Raises:
        UnknownNameError: when there is no such deployment or restore point.
        PlanError: when nothing of it can be written outside its platform.
        ProofFailedError: when *check* says that it is not as it should be.
        DamagedError: when its last check found any of it damaged, or it could not be restored because it
            is; that is kept as a proof, too.
        QuiesceError: when it could not be restored for another reason.
    """
    found = services.deployments.get(deployment)
    point = point_named(services, found.name, name)
    # a trial of the rest would hide what its last check has found
    refuse_found_damaged(point, [artifact.instance for artifact in point.artifacts])
    able = _able(services, found, point)
    began, at = services.clock.tick(), services.clock.now()
    with scratch_directory(scratch, f"{found.name}-{services.random_text(10)}") as place:
        error = run(_request(point, able, place / "restored"))
        if error is not None:
            _refuse_damage(services, point, error)
            raise error
        _check(check, point, place / "restored")
    seconds = services.clock.tick() - began
    proof = _proof(point, able, at=at, seconds=seconds, checked=bool(check))
    services.catalog.add_proof(point.deployment, point.name, proof)
    return ProofByRestore(
        point=services.catalog.get(point.deployment, point.name), proof=proof, seconds=seconds
    )


def _able(services: Services, deployment: Deployment, point: RestorePoint) -> Collection[InstanceId]:
    topology = deployment.topology
    bindings = bind(topology.nodes.values(), services.descriptions, (RESTORE_EXTRACT,))
    able = [
        artifact.instance
        for artifact in point.artifacts
        if artifact.state is PointState.COMPLETE
        and artifact.instance in topology.instances
        and RESTORE_EXTRACT in bindings[topology.instances[artifact.instance].node]
    ]
    if not able:
        raise PlanError(
            f"nothing of {point.name} can be restored into a directory, so it cannot be proven",
            hint=f"Read all of it instead: quiesce backups verify {point.deployment} {point.name}",
        )
    return able


def _request(point: RestorePoint, able: Collection[InstanceId], target: Path) -> WorkflowRequest:
    return WorkflowRequest(
        deployment=point.deployment,
        workflow=EXTRACT.name,
        parameters={
            "snapshot_name": point.name,
            "target": str(target),
            "include_instances": list(able),
            # all of it is read anyway
            "verify_first": "quick",
        },
    )


def _refuse_damage(services: Services, point: RestorePoint, error: QuiesceError) -> None:
    """Read what could not be restored again, to tell damage from all else; the result is kept as a proof.

    Raises:
        DamagedError: when it is damaged.
    """
    if not isinstance(error, ExecutionFailedError):
        return
    _, found = verify(services, point.deployment, point.name)
    if found.damages:
        raise DamagedError(f"{point.name} is damaged: {', '.join(found.damages)}") from error


def _check(check: str, point: RestorePoint, directory: Path) -> None:
    """Let the operator's command look at what was restored.

    What it does not like is no damage: the restore point holds what was there.
    """
    if not check:
        return
    facts = {
        "QUIESCE_DEPLOYMENT": str(point.deployment),
        "QUIESCE_POINT": str(point.name),
        "QUIESCE_RESTORED": str(directory),
    }
    result = run_shell(check, facts, directory=str(directory), timeout_s=_CHECK_S)
    if not result.passed:
        raise ProofFailedError(f"{point.name} was restored, but the check {check!r} did not pass: {result}")


def _proof(
    point: RestorePoint, able: Collection[InstanceId], *, at: float, seconds: float, checked: bool
) -> Proof:
    how = "restored and checked" if checked else "restored"
    return Proof(
        at=at,
        kind=RESTORED,
        passed=True,
        detail=f"{len(able)} of {len(point.artifacts)} instances {how} in {seconds:.1f} s",
        partial=len(able) < len(point.artifacts),
    )

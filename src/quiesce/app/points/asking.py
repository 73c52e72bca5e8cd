"""Ask the providers of a restore point's artifacts to verify them, side by side."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from concurrent.futures import FIRST_COMPLETED, ThreadPoolExecutor, wait
from dataclasses import replace
from typing import Final, TypeAlias

from quiesce.app.inquiry import Inquiry, question
from quiesce.app.services import Services
from quiesce.engine import Attempt
from quiesce.errors import (
    CancelledError,
    DamagedArtifactError,
    ForeignObjectError,
    PlanError,
    ProviderError,
    ResourceNotFoundError,
    UnreachableError,
)
from quiesce.model.deployment import Deployment
from quiesce.model.ids import InstanceId, Json
from quiesce.model.operation import RESTORE_VERIFY, SNAPSHOT_CREATE, Operation
from quiesce.model.plan import Plan, Step
from quiesce.model.restore_point import Artifact, Proof, RestorePoint
from quiesce.model.topology import Instance
from quiesce.planning import BACKUP, read_parameters
from quiesce.planning.binding import Binding, bind
from quiesce.ports import Verifier

#: how many instances are read side by side
_SIDE_BY_SIDE: Final = 8
#: how often a cancel is looked for, in seconds
_LOOK_S: Final = 0.5

#: a proof; why the artifact could not be looked at; None: nothing can check it without restoring
Answer: TypeAlias = Proof | str | None
Cancelled: TypeAlias = Callable[[], str | None]
#: told, twice a second, how many bytes were read and of how many, where that is known
Checking: TypeAlias = Callable[[int, int | None], None]


def nobody() -> str | None:
    """Say that nobody cancels."""
    return None


def silently(_done_bytes: int, _total_bytes: int | None) -> None:
    """Tell nobody how far a check is."""


def ask_verifiers(
    services: Services,
    deployment: Deployment,
    point: RestorePoint,
    artifacts: Collection[Artifact],
    *,
    cancelled: Cancelled = nobody,
    checking: Checking = silently,
) -> Mapping[InstanceId, Answer]:
    """Let the provider of each of *artifacts* read it; return what each of them answers.

    Raises:
        CancelledError: when *cancelled* gives a reason meanwhile.
    """
    inquiry = Inquiry(services, deployment, "verify", plan=_asking(services, point), points=[point])
    attempts = [inquiry.attempt_of(step) for step in _steps(services, deployment, point, artifacts)]
    with ThreadPoolExecutor(max_workers=_SIDE_BY_SIDE) as threads:
        asked = [threads.submit(_answer, services, inquiry, attempt) for attempt in attempts]
        pending = set(asked)
        while pending:
            _, pending = wait(pending, timeout=_LOOK_S, return_when=FIRST_COMPLETED)
            checking(*_moved(attempts))
            if pending and (reason := cancelled()):
                threads.shutdown(wait=False, cancel_futures=True)
                for attempt in attempts:
                    attempt.given_up = True
                raise CancelledError(
                    f"the check of {point.name} was cancelled: {reason}; nothing was touched"
                )
    answers: dict[InstanceId, Answer] = dict.fromkeys(artifact.instance for artifact in artifacts)
    for attempt, future in zip(attempts, asked, strict=True):
        instance = attempt.step.instance
        answers[instance] = _together(answers[instance], future.result())
    return answers


def question_of(
    services: Services, deployment: Deployment, point: RestorePoint, artifact: Artifact
) -> tuple[Inquiry, Attempt]:
    """Return a question about *artifact* to who made it.

    Raises:
        PlanError: when the deployment has no such instance any more, or its maker is not installed here.
    """
    inquiry = Inquiry(services, deployment, "browse", plan=_asking(services, point), points=[point])
    steps = [s for s in _steps(services, deployment, point, [artifact]) if s.interface == SNAPSHOT_CREATE]
    if not steps:
        raise PlanError(
            f"{deployment.name} has no instance {artifact.instance} any more, or {artifact.provider}, which "
            "has stored it, is not installed here"
        )
    return inquiry, inquiry.attempt_of(steps[0])


def _asking(services: Services, point: RestorePoint) -> Plan:
    """Return a plan without steps, whose parameters tell a blueprint's own check what it is about."""
    given: dict[str, Json] = {
        "snapshot_name": point.name,
        "snapshot_incremental": not point.full,
    }
    if not point.damage:  # a damaged entry of the catalog does not say them
        given |= {"snapshot_type": point.type, "snapshot_rotation": point.rotation}
    parameters = read_parameters(BACKUP.name, given, now=services.clock.now())
    return Plan(workflow="verify", parameters=parameters, groups=(), steps=())


def _together(maker: Answer, own: Answer) -> Answer:
    """Return what the answers of an artifact's maker and of the blueprint's own check say together."""
    if maker is None or own is None:
        return maker if own is None else own
    proofs = [each for each in (maker, own) if isinstance(each, Proof)]
    failed = [each for each in proofs if not each.passed]
    if failed:
        return replace(failed[0], detail="; ".join(each.detail for each in failed))
    if len(proofs) < 2:
        return "; ".join(each for each in (maker, own) if isinstance(each, str))
    reading = [each for each in proofs if each.read] or proofs[1:]
    return replace(reading[0], detail="; ".join(each.detail for each in proofs if each.detail))


def _moved(attempts: Collection[Attempt]) -> tuple[int, int | None]:
    totals = [attempt.total_bytes for attempt in attempts]
    known = [total for total in totals if total is not None]
    done = sum(attempt.done_bytes for attempt in attempts)
    return done, sum(known) if len(known) == len(totals) else None


def _steps(
    services: Services, deployment: Deployment, point: RestorePoint, artifacts: Collection[Artifact]
) -> list[Step]:
    """Return a question to each artifact's maker, and one to the blueprint's own check, where there is one.

    Nobody is asked about what the deployment has no more, and no maker that is not installed here: other
    plugins have made it, inside Cloudify.
    """
    topology, asked_here = deployment.topology, {each.name for each in services.descriptions}
    bindings = bind(topology.nodes.values(), services.descriptions, (SNAPSHOT_CREATE, RESTORE_VERIFY))
    steps = []
    for artifact in artifacts:
        instance = topology.instances.get(artifact.instance)
        bound = {} if instance is None else bindings[instance.node]
        made_here = instance is not None and artifact.provider in asked_here
        if instance is not None and made_here and (maker := bound.get(SNAPSHOT_CREATE)) is not None:
            asked = _question(instance, maker, Operation.APPLY, SNAPSHOT_CREATE, point)
            steps.append(replace(asked, provider=artifact.provider, function=artifact.function))
        if instance is not None and (own := bound.get(RESTORE_VERIFY)) is not None:
            steps.append(_question(instance, own, Operation.VERIFY, RESTORE_VERIFY, point))
    return steps


def _question(
    instance: Instance, binding: Binding, operation: Operation, interface: str, point: RestorePoint
) -> Step:
    return replace(
        question(instance, binding),
        operation=operation,
        interface=interface,
        declared=binding.declared,
        point=point.name,
    )


def _answer(services: Services, inquiry: Inquiry, attempt: Attempt) -> Answer:
    step = attempt.step
    try:
        provider = services.provider(step.provider)
        if not isinstance(provider, Verifier):
            own = step.operation is Operation.VERIFY
            return f"{step.provider} cannot run {step.interface}" if own else None
        proof = provider.verify(inquiry.call_of(step), inquiry.context_of(step, attempt))
    except (DamagedArtifactError, ResourceNotFoundError, ForeignObjectError) as error:
        proof = Proof(at=services.clock.now(), kind="checksums", passed=False, detail=str(error))
    except (ProviderError, UnreachableError, PlanError) as error:
        # no rights, no answer, no package: that says nothing about the restore point
        return services.masking.text(str(error))
    return None if proof is None else replace(proof, detail=services.masking.text(proof.detail))

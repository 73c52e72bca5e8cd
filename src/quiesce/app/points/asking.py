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
from quiesce.model.ids import InstanceId
from quiesce.model.operation import SNAPSHOT_CREATE, Operation
from quiesce.model.plan import Step
from quiesce.model.restore_point import Artifact, Proof, RestorePoint
from quiesce.planning.binding import bind
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
    inquiry = Inquiry(services, deployment, "verify", points=[point])
    attempts = {
        step.instance: inquiry.attempt_of(step) for step in _steps(services, deployment, point, artifacts)
    }
    with ThreadPoolExecutor(max_workers=_SIDE_BY_SIDE) as threads:
        asked = {
            instance: threads.submit(_answer, services, inquiry, attempt)
            for instance, attempt in attempts.items()
        }
        pending = set(asked.values())
        while pending:
            _, pending = wait(pending, timeout=_LOOK_S, return_when=FIRST_COMPLETED)
            checking(*_moved(attempts.values()))
            if pending and (reason := cancelled()):
                threads.shutdown(wait=False, cancel_futures=True)
                for attempt in attempts.values():
                    attempt.given_up = True
                raise CancelledError(
                    f"the check of {point.name} was cancelled: {reason}; nothing was touched"
                )
    answers = {instance: future.result() for instance, future in asked.items()}
    return {artifact.instance: answers.get(artifact.instance) for artifact in artifacts}


def _moved(attempts: Collection[Attempt]) -> tuple[int, int | None]:
    totals = [attempt.total_bytes for attempt in attempts]
    known = [total for total in totals if total is not None]
    done = sum(attempt.done_bytes for attempt in attempts)
    return done, sum(known) if len(known) == len(totals) else None


def _steps(
    services: Services, deployment: Deployment, point: RestorePoint, artifacts: Collection[Artifact]
) -> list[Step]:
    """Return a question to each artifact's maker; nobody is asked about what the deployment has no more."""
    topology = deployment.topology
    bindings = bind(topology.nodes.values(), services.descriptions, (SNAPSHOT_CREATE,))
    steps = []
    for artifact in artifacts:
        instance = topology.instances.get(artifact.instance)
        binding = None if instance is None else bindings[instance.node].get(SNAPSHOT_CREATE)
        if instance is None or binding is None:
            continue
        asked = question(instance, binding)
        steps.append(
            replace(
                asked,
                operation=Operation.APPLY,
                interface=SNAPSHOT_CREATE,
                declared=binding.declared,
                provider=artifact.provider,
                function=artifact.function,
                point=point.name,
            )
        )
    return steps


def _answer(services: Services, inquiry: Inquiry, attempt: Attempt) -> Answer:
    step = attempt.step
    try:
        provider = services.provider(step.provider)
        if not isinstance(provider, Verifier):
            return None
        proof = provider.verify(inquiry.call_of(step), inquiry.context_of(step, attempt))
    except (DamagedArtifactError, ResourceNotFoundError, ForeignObjectError) as error:
        proof = Proof(at=services.clock.now(), kind="checksums", passed=False, detail=str(error))
    except (ProviderError, UnreachableError, PlanError) as error:
        # no rights, no answer, no package: that says nothing about the restore point
        return services.masking.text(str(error))
    return None if proof is None else replace(proof, detail=services.masking.text(proof.detail))

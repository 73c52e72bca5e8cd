"""Everything that the use cases work with, put together by `quiesce.bootstrap`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

from quiesce.app.masking import Masking
from quiesce.engine import Attempt, ThreadWorkers
from quiesce.model.capabilities import Description
from quiesce.model.deployment import Deployment
from quiesce.model.outcome import Outcome
from quiesce.model.records import Logged
from quiesce.ports import (
    Catalog,
    Clock,
    Deployments,
    Executions,
    Guard,
    Leases,
    LiveDeployment,
    Manifests,
    Messenger,
    Policies,
    Provider,
    Workers,
)

if TYPE_CHECKING:
    from quiesce.app.repository_access import RepositoryAccess  # large, and few commands need it


class StepPerformer(Protocol):
    """Performs the attempts of one execution. Safe from many threads."""

    #: puts a line into the execution's journal
    log: Callable[[Logged], None]

    def __call__(self, attempt: Attempt) -> Outcome:
        """Perform *attempt*. No secret is in what it returns or raises."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Services:
    """Ports and the adapters that answer them."""

    deployments: Deployments
    executions: Executions
    catalog: Catalog
    manifests: Manifests
    leases: Leases
    policies: Policies
    #: one process at a time runs what is due on a deployment
    schedulers: Leases
    messenger: Messenger
    clock: Clock
    #: every installed provider, described
    descriptions: Sequence[Description]
    #: returns the one object that serves all calls of this process
    provider: Callable[[str], Provider]
    live: Callable[[Deployment], LiveDeployment]
    #: starts a guard process; called once for each execution that freezes
    guard: Callable[[], Guard]
    #: sleep for so many seconds
    pause: Callable[[float], None]
    #: random lower-case letters and digits
    random_text: Callable[[int], str]
    #: what opens repositories, with the keys and secrets of the home
    repositories: Callable[[], RepositoryAccess]
    #: where restore points are restored on trial
    proofs_dir: str
    #: this machine's name, where several share the database; empty: there is one
    host: str = ""
    #: knows every secret that was resolved; what operations say goes through it
    masking: Masking = field(default_factory=Masking)
    #: makes what performs an execution, told what `Performer` is; None: the providers of this process do
    performer: Callable[..., StepPerformer] | None = None
    #: where the attempts of one execution run
    workers: Callable[[Clock], Workers] = ThreadWorkers

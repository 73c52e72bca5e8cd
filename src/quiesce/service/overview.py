"""What the first page shows: how every deployment stands, a screenful at a time."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from quiesce.app.policies.due import state_of
from quiesce.app.run.recover import Unfinished, find_unfinished
from quiesce.app.services import Services
from quiesce.model.ids import DeploymentName
from quiesce.model.policy import PolicyState
from quiesce.model.restore_point import RestorePoint, Trust

#: deployments on one page
PAGE: Final = 100


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One deployment."""

    name: DeploymentName
    newest: RestorePoint | None
    policies: tuple[PolicyState, ...]
    unfinished: tuple[Unfinished, ...]

    @property
    def state(self) -> str:
        """One word: what matters most."""
        newest = self.newest
        signs = (
            ("frozen", any(each.owed for each in self.unfinished)),
            ("interrupted", bool(self.unfinished)),
            ("overdue", any(policy.overdue_since is not None for policy in self.policies)),
            ("damaged", newest is not None and newest.trust is Trust.DAMAGED),
            ("failed", any(policy.in_trouble for policy in self.policies)),
            ("no policy", not self.policies),
            ("waiting", newest is None),
        )
        return next((word for word, applies in signs if applies), "good")


@dataclass(frozen=True, slots=True, kw_only=True)
class Overview:
    """One page of deployments."""

    rows: tuple[Row, ...]
    page: int
    pages: int
    count: int
    #: deployments that nothing protects by itself, in all
    unprotected: int
    #: may still be frozen, in all
    owing: tuple[Unfinished, ...]


def overview(services: Services, *, page: int, matching: str) -> Overview:
    """Return the *page* (from 1) of the deployments whose names hold *matching*."""
    names = [name for name in services.deployments.names() if matching.lower() in name.lower()]
    pages = max(1, -(-len(names) // PAGE))
    page = min(max(page, 1), pages)
    shown = names[(page - 1) * PAGE : page * PAGE]
    policies = services.policies.list()
    protected = {policy.deployment for policy in policies}
    unfinished = find_unfinished(services)
    newest = services.catalog.newest(shown)
    on_page = set(shown)
    states: dict[DeploymentName, list[PolicyState]] = {}
    for policy in policies:
        if policy.deployment in on_page:
            states.setdefault(policy.deployment, []).append(state_of(services, policy))
    return Overview(
        rows=tuple(
            Row(
                name=name,
                newest=newest.get(name),
                policies=tuple(states.get(name, ())),
                unfinished=_of(unfinished, name),
            )
            for name in shown
        ),
        page=page,
        pages=pages,
        count=len(names),
        unprotected=sum(1 for name in names if name not in protected),
        owing=tuple(each for each in unfinished if each.owed),
    )


def _of(unfinished: Sequence[Unfinished], name: DeploymentName) -> tuple[Unfinished, ...]:
    return tuple(each for each in unfinished if each.execution.deployment == name)

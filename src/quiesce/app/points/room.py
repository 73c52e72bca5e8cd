"""Make room in the repositories of a deployment: what no point needs is deleted when its grace is over."""

from __future__ import annotations

from quiesce.app.points.manifests import repositories
from quiesce.app.services import Services
from quiesce.errors import ObjectLockedError, StorageDeniedError
from quiesce.model.deployment import Deployment


def make_room(services: Services, deployment: Deployment) -> None:
    """Collect in every repository of *deployment* that is there; where that is not allowed, it is left.

    Whoever may only add (docs/storage.md) leaves it to somebody with other credentials.

    Raises:
        DamagedError: when a point is damaged: what it needs is not known, so nothing was deleted.
    """
    from quiesce.app.repository_access import GivenCredentials  # large, and few commands need it

    kept = repositories(services, deployment, deployment.topology.instances.keys())
    for url in sorted(set(kept.values())):
        if services.manifests.why_away(url):
            continue
        try:
            with services.repositories().opened(url, GivenCredentials()) as repository:
                repository.collect()
        except (StorageDeniedError, ObjectLockedError):
            continue

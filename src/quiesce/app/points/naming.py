"""Restore points by name, and the newest one by a name that says so."""

from __future__ import annotations

from typing import Final

from quiesce.app.services import Services
from quiesce.errors import UnknownNameError
from quiesce.model.ids import DeploymentName
from quiesce.model.restore_point import RestorePoint
from quiesce.planning.retention import is_from_future, is_good

#: what the newest good restore point is called besides its own name; none may be made that is called so
LATEST: Final = "latest"


def point_named(services: Services, deployment: DeploymentName, name: str) -> RestorePoint:
    """Return the restore point called *name*; `LATEST` is the newest that is complete and not damaged.

    The order is that in which they were made, not what a clock said; one from the future is passed over, and
    so is what a restore has taken for safety.

    Raises:
        UnknownNameError: listing those there are.
    """
    if name != LATEST:
        return services.catalog.get(deployment, name)
    known, now = services.catalog.list(deployment), services.clock.now()
    good = [point for point in known if is_good(point) and not is_from_future(point, now)]
    if not good:
        raise UnknownNameError("good restore point of", deployment, [point.name for point in known])
    return good[-1]

"""On which machine something is to be done, where several share the database.

A path, a process or a device is named by a blueprint, and means another thing on each machine. What a
provider reaches over the network (`Description.remote`) is the same from everywhere.
"""

from __future__ import annotations

from collections.abc import Iterable

from quiesce.app.services import Services
from quiesce.errors import OtherHostError


def other_host(services: Services, host: str, providers: Iterable[str]) -> str:
    """Return *host* where it is another machine, and one of *providers* works on its own; empty: none such.

    What Cloudify performs is performed by its agents, wherever it is asked for.
    """
    if services.performer is not None or not services.host or host in ("", services.host):
        return ""
    remote = {description.name for description in services.descriptions if description.remote}
    return "" if remote.issuperset(providers) else host


def refuse_other_host(services: Services, host: str, providers: Iterable[str], what: str, hint: str) -> None:
    """Refuse to do here what has to be done on *host*: *what*, such as "execution backup-1 ran".

    Raises:
        OtherHostError: with that *hint*.
    """
    if other := other_host(services, host, providers):
        raise OtherHostError(
            f"{what} on {other}, and this is {services.host}; nothing was touched", hint=hint
        )

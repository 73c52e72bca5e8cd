"""When a policy is due: cron's words, in a time zone.

Clock changes are treated as Debian's cron does: what falls into the hour that is left out runs right after
it, what falls into the hour that comes twice runs once.
"""

from __future__ import annotations

import datetime as dt
import hashlib
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Final
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from cronsim import CronSim, CronSimError

from quiesce.errors import UsageError
from quiesce.model.policy import Policy, PolicyRules

_NAMED: Final = {
    "@hourly": "0 * * * *",
    "@daily": "0 0 * * *",
    "@midnight": "0 0 * * *",
    "@weekly": "0 0 * * 0",
    "@monthly": "0 0 1 * *",
}
_WORDS: Final = 5
_LOCAL_ZONE: Final = Path("/etc/localtime")
#: a schedule that does not come up within so long never does (29 February comes within eight years)
_NEVER: Final = dt.timedelta(days=366 * 8 + 1)


def check_schedule(rules: PolicyRules) -> None:
    """Refuse a schedule or a time zone that cannot be understood.

    Raises:
        UsageError: naming it, and what would be right.
    """
    zone = zone_named(rules.timezone)
    words = _words(rules.schedule)
    if len(words.split()) != _WORDS:
        raise _wrong(rules.schedule)
    try:
        start = dt.datetime(2024, 1, 1, tzinfo=zone)
        first = next(CronSim(words, start), None)
    except (CronSimError, ValueError) as error:
        raise _wrong(rules.schedule, f" ({error})") from None
    if first is None or first - start > _NEVER:
        raise UsageError(f"schedule {rules.schedule!r} never comes up")


def zone_named(name: str) -> dt.tzinfo:
    """Return a time zone; empty: this machine's (``TZ``, else ``/etc/localtime``).

    Raises:
        UsageError: when there is none of that name.
    """
    wanted = name or os.environ.get("TZ", "").lstrip(":")
    try:
        if wanted:
            return ZoneInfo(wanted)
        with _LOCAL_ZONE.open("rb") as local:
            return ZoneInfo.from_file(local, key="localtime")
    except FileNotFoundError:
        return dt.UTC
    except (ZoneInfoNotFoundError, ValueError, OSError):
        raise UsageError(
            f"there is no time zone {wanted!r}", hint="Name one as in Europe/Berlin or UTC."
        ) from None


def due_times(policy: Policy, after: float, until: float) -> Iterator[float]:
    """Yield the times after *after* and up to *until* at which *policy* is due, jitter included."""
    spread = jitter_s(policy)
    zone = zone_named(policy.rules.timezone)
    for at in CronSim(_words(policy.rules.schedule), dt.datetime.fromtimestamp(after - spread, zone)):
        due = at.timestamp() + spread
        if due > until:
            return
        if due > after:
            yield due


def next_due(policy: Policy, after: float) -> float:
    """Return the first time after *after* at which *policy* is due."""
    return next(due_times(policy, after, float("inf")))


def last_due(policy: Policy, until: float) -> float:
    """Return the last time up to *until* at which *policy* was due."""
    spread = jitter_s(policy)
    start = dt.datetime.fromtimestamp(until - spread, zone_named(policy.rules.timezone))
    before = next(CronSim(_words(policy.rules.schedule), start, reverse=True)).timestamp() + spread
    # what is due at this very second is not before it
    return max((before, *due_times(policy, before, until)))


def jitter_s(policy: Policy) -> float:
    """Return by how much *policy* starts late: always the same, so that it is due once and not twice."""
    if not policy.rules.jitter:
        return 0.0
    digest = hashlib.sha256(f"{policy.deployment}\0{policy.name}".encode()).digest()
    return float(int.from_bytes(digest[:8], "big") % int(policy.rules.jitter))


def _words(schedule: str) -> str:
    return _NAMED.get(schedule, schedule)


def _wrong(schedule: str, why: str = "") -> UsageError:
    return UsageError(
        f"schedule {schedule!r} is not cron's: minute, hour, day of month, month, day of week{why}",
        hint="Such as '30 2 * * *' (each night at half past two), or @hourly, @daily, @weekly, @monthly.",
    )

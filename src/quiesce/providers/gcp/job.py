"""Everything that one call of the engine needs, read once."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Final, TypeVar

from quiesce.provider_kit.job import Job, RuntimeState
from quiesce.provider_kit.listing import Pace, SharedRequests
from quiesce.providers.gcp.account import Account
from quiesce.providers.gcp.client import Compute, GcpConnection
from quiesce.providers.gcp.options import GcpOptions
from quiesce.providers.gcp.ownership import POINT, point_label
from quiesce.providers.gcp.references import IMAGES, INSTANTS, SNAPSHOTS, Location, Reference, region_of
from quiesce.providers.gcp.resources import GcpCopy, GcpDisk

R = TypeVar("R")
Copies = dict[Reference, GcpCopy]

#: a cut asks at once, and again every 0.1 s: nobody waits frozen for the next question. What is awaited after
#: the thaw is asked for less and less often.
_PACE: Final = Pace(
    gather_s=0.0, least_s=0.1, most_s=4.0, share=0.2, urgent_share=0.0, rest=3.0, patient=False
)


@dataclass(frozen=True, slots=True, kw_only=True)
class ListKey:
    """One list, as one account sees it."""

    connection: GcpConnection
    location: Location
    #: value of the label `POINT`; empty: all that there is
    point: str = ""


class SharedLists:
    """Lists that concurrent calls have in common."""

    def __init__(self, compute: Callable[[GcpConnection], Compute]) -> None:
        """*compute* gives the service for requests that no single call waits for."""
        self.copies: SharedRequests[ListKey, Copies] = SharedRequests(
            lambda key: compute(key.connection).copies(key.location, POINT, key.point), _PACE
        )
        self.disks: SharedRequests[ListKey, dict[Reference, GcpDisk]] = SharedRequests(
            lambda key: compute(key.connection).disks(key.location), _PACE
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class GcpJob(Job):
    """One call: what it is about, how it was asked for, and the means to do it."""

    compute: Compute
    account: Account
    #: the machine or disk that the node stands for
    target: Reference
    options: GcpOptions
    lists: SharedLists
    state: RuntimeState

    @property
    def copy_locations(self) -> frozenset[Location]:
        """Everywhere that copies of the target can be."""
        scopes = {self.target.scope}
        found = {self.target.beside(SNAPSHOTS, "global")}
        if self.target.is_machine:
            scopes.add(f"regions/{region_of(self.target.place)}")
            found.add(self.target.beside(IMAGES, "global"))
        return frozenset(found | {self.target.beside(INSTANTS, scope) for scope in scopes})

    def copies(self, locations: Iterable[Location]) -> Copies:
        """Return all copies of this restore point in *locations*, together with whoever else asks."""
        found: Copies = {}
        for location in locations:
            found |= self.lists.copies.now(self._copies_in(location), self.compute.deadline)
        return found

    def copies_until(
        self, location: Location, judge: Callable[[Copies], R | None], *, urgent: bool = False
    ) -> R:
        """Return what *judge* makes of a location's copies, once that is not None; see `SharedRequest`."""
        key = self._copies_in(location)
        return self.lists.copies.until(key, judge, self.compute.deadline, urgent=urgent)

    def disks(self, location: Location) -> dict[Reference, GcpDisk]:
        """Return all disks in *location*, together with whoever else asks."""
        key = ListKey(connection=self.compute.connection, location=location)
        return self.lists.disks.now(key, self.compute.deadline)

    def _copies_in(self, location: Location) -> ListKey:
        return ListKey(connection=self.compute.connection, location=location, point=point_label(self.call))

"""One sort of thing that a cloud holds, looked up once for everybody who waits for some of it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from contextlib import AbstractContextManager
from typing import Final, Generic, TypeVar

from quiesce.errors import ProviderError
from quiesce.provider_kit.job import Job
from quiesce.provider_kit.listing import Pace, SharedRequest
from quiesce.providers.openstack.resources import NamedResource

#: a list takes a tenth of a second or more; looked at more often, a cloud is busy with our lists
PACE: Final = Pace(least_s=0.4)

T = TypeVar("T", bound=NamedResource)
R = TypeVar("R")


class Collection(Generic[T]):
    """Servers, say: one of them is looked at alone, several by one list. Shared by all calls."""

    def __init__(
        self,
        name: str,
        every: Callable[[], Iterable[T]],
        one: Callable[[str], T | None],
        pace: Pace | None = None,
    ) -> None:
        self._name = name
        self._every = every
        self._one = one
        #: asked by ids, and by None for the whole list
        self._request: SharedRequest[str | None, Mapping[str, T]] = SharedRequest(self._fetch, pace or PACE)

    def listed(self, job: Job) -> Mapping[str, T]:
        """Return all of them by id, from a request that began after this call."""
        return self._request.now(None, job.deadline(f"the list of {self._name}"))

    def find(self, thing_id: str, job: Job) -> T | None:
        """Return one of them as it is now; None when it is not there."""
        listing = self._request.now(thing_id, job.deadline(f"a look at {thing_id}"))
        return listing.get(thing_id)

    def ahead(self, job: Job) -> AbstractContextManager[Callable[[], Mapping[str, T]]]:
        """Ask for all of them now, while other things are asked; what is given returns them."""
        return self._request.ahead(None, job.deadline(f"the list of {self._name}"))

    def until(
        self,
        thing_id: str,
        judge: Callable[[T | None], R | None],
        job: Job,
        what: str,
        *,
        urgent: bool = False,
    ) -> R:
        """Return what *judge* makes of one of them, as soon as that is not None.

        *what* says what is waited for; with *urgent*, something is held frozen meanwhile.

        Raises:
            OperationTimeoutError: when the time is up or nobody waits any more.
            ProviderError: what *judge* raises, and whatever makes asking again useless.
        """
        return self._request.until(
            thing_id, lambda listing: judge(listing.get(thing_id)), job.deadline(what), urgent=urgent
        )

    def until_listed(
        self, judge: Callable[[Mapping[str, T]], R | None], job: Job, what: str, *, urgent: bool = False
    ) -> R:
        """Return what *judge* makes of all of them, as soon as that is not None; else as `until`."""
        return self._request.until(None, judge, job.deadline(what), urgent=urgent)

    def until_gone(self, thing_id: str, job: Job) -> None:
        """Return when one of them is there no longer."""
        self.until(thing_id, lambda found: found is None or None, job, f"{thing_id} to be gone")

    def _fetch(self, keys: frozenset[str | None]) -> Mapping[str | None, Mapping[str, T] | ProviderError]:
        (only, *more) = keys
        if only is None or more:
            listing = {thing.id: thing for thing in self._every()}
        else:
            found = self._one(only)
            listing = {} if found is None else {only: found}
        return dict.fromkeys(keys, listing)

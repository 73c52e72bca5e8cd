"""Waiting for many tasks by one request at a time, which vCenter answers as soon as one of them is over."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from quiesce.errors import NonRecoverableError, OperationTimeoutError, ProviderError, RecoverableError
from quiesce.provider_kit.deadline import Deadline
from quiesce.provider_kit.listing import AT_ONCE, Pace, SharedRequest
from quiesce.providers.vsphere.errors import of_fault
from quiesce.providers.vsphere.session.reading import read_objects
from quiesce.providers.vsphere.session.sdk import id_of, vim, vmodl
from quiesce.providers.vsphere.session.session import VCenterSession

#: not the error: one that the SDK cannot read would keep all others from being told
_PROPERTIES: Final = ["info.state", "info.result"]
#: how long the vCenter holds a request when nothing changes
_HOLD_S: Final = 20
_CLOSE_S: Final = 5.0
#: how long vCenter is left alone after an error
_PAUSE_S: Final = 0.25
#: vCenter itself lets each request wait; only after an error is there a pause
_PACE: Final = Pace(gather_s=0.0, least_s=0.0, most_s=0.0)


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskState:
    """What is known of a task."""

    state: str = "queued"
    result: Any = None


#: vCenter knows nothing of it any more, which has restarted, say
_MISSING: Final = TaskState(state="missing")


class VCenterTasks:
    """Tells when tasks are over. Tasks that are started together are watched by one filter."""

    def __init__(self, session: VCenterSession) -> None:
        self._session = session
        self._collector: Any = None
        self._version = ""
        #: tasks that somebody waits for
        self._wanted: set[str] = set()
        #: filters and the tasks that each watches
        self._filters: dict[str, tuple[Any, set[str]]] = {}
        self._states: dict[str, TaskState] = {}
        self._lock = threading.RLock()
        self._watched: SharedRequest[str, bool] = SharedRequest(self._watch, AT_ONCE)
        #: one key for all: whoever takes an answer late takes the newest, with his own task in it
        self._told: SharedRequest[None, Mapping[str, TaskState]] = SharedRequest(self._wait, _PACE)

    def result(self, task: Any, what: str, deadline: Deadline, *, cancel: bool = False) -> Any:
        """Return the task's result once it has succeeded.

        Raises:
            OperationTimeoutError: when *deadline* is over; with *cancel* the task was asked to stop.
            ProviderError: when the task failed.
        """
        try:
            found = self._await(id_of(task), deadline)
        except OperationTimeoutError as error:
            if cancel:
                self._cancel(task)
            raise OperationTimeoutError(f"cannot {what}: it takes longer than allowed") from error
        if found.state != "success":
            raise self._error_of(task, what)
        return found.result

    def close(self) -> None:
        """Let vCenter forget what it told us about."""
        with self._lock:
            collector, self._collector = self._collector, None
        if collector is not None:
            with contextlib.suppress(ProviderError):
                self._session.change(
                    "stop waiting", lambda _: collector.DestroyPropertyCollector(), most_s=_CLOSE_S
                )

    def _await(self, task: str, deadline: Deadline) -> TaskState:
        with self._lock:
            self._wanted.add(task)
        try:
            self._watched.now(task, deadline)
            return self._told.until(None, lambda known: _over(known.get(task)), deadline)
        finally:
            with self._lock:
                self._wanted.discard(task)
                self._states.pop(task, None)

    def _error_of(self, task: Any, what: str) -> ProviderError:
        try:
            read = read_objects(self._session, vim.Task, [id_of(task)], ["info.error"])
        except NonRecoverableError as error:
            return error
        fault = read.get(id_of(task), {}).get("info.error")
        if isinstance(fault, BaseException):
            return of_fault(fault, what)
        return RecoverableError(f"cannot {what}: vCenter does not say any more what became of its task")

    def _cancel(self, task: Any) -> None:
        with contextlib.suppress(ProviderError):
            self._session.change("cancel a task", lambda _: task.CancelTask(), most_s=_CLOSE_S)

    # -- what is asked for all who wait ----------------------------------------------------------------

    def _watch(self, tasks: frozenset[str]) -> Mapping[str, bool]:
        """Watch *tasks*; a request that waits for others returns at once and tells of these."""
        with self._lock:
            try:
                self._add(tasks)
            except ProviderError:  # the session may have ended, and its collectors with it
                self._forget_collector()
                self._add(tasks)
        return dict.fromkeys(tasks, True)

    def _wait(self, _: frozenset[None]) -> Mapping[None, Mapping[str, TaskState]]:
        """Return what is known of all tasks once that has changed, or vCenter has waited long enough.

        While somebody has still to be told that his task is over, vCenter is not asked.
        """
        try:
            with self._lock:
                self._add(frozenset(self._wanted))
                collector, version = self._collector, self._version
                untold = any(_over(self._states.get(task)) for task in self._wanted)
            if not untold:
                self._take_in(collector, self._updates(collector, version))
                self._drop_filters()
        except ProviderError as error:
            self._forget_collector()
            message = f"vCenter cannot be asked for its tasks: {error}"
            raise RecoverableError(message, retry_after_s=_PAUSE_S) from error
        with self._lock:
            return {None: dict(self._states)}

    def _add(self, tasks: frozenset[str]) -> None:
        """Make a filter for those of *tasks* that none watches yet, with a new collector where needed."""
        if self._collector is None:
            self._collector = self._session.read(
                "wait for tasks", lambda content: content.propertyCollector.CreatePropertyCollector()
            )
        watched = {task for _, part in self._filters.values() for task in part}
        missing = sorted(tasks - watched)
        if missing:
            collector, spec = self._collector, self._filter_of(missing)
            made = self._session.change("wait for tasks", lambda _: collector.CreateFilter(spec, False))
            self._filters[id_of(made)] = (made, set(missing))

    def _filter_of(self, tasks: list[str]) -> Any:
        query = vmodl.query.PropertyCollector
        return query.FilterSpec(
            objectSet=[query.ObjectSpec(obj=self._session.bind(vim.Task, task)) for task in tasks],
            propSet=[query.PropertySpec(type=vim.Task, pathSet=_PROPERTIES)],
            reportMissingObjectsInResults=True,
        )

    def _updates(self, collector: Any, version: str) -> Any:
        options = vmodl.query.PropertyCollector.WaitOptions(maxWaitSeconds=_HOLD_S)
        return self._session.change(
            "wait for tasks", lambda _: collector.WaitForUpdatesEx(version, options), most_s=_HOLD_S + 20
        )

    def _take_in(self, collector: Any, update: Any) -> None:
        if update is None:
            return
        with self._lock:
            if collector is self._collector:
                self._version = str(update.version)
            for part in update.filterSet or ():
                for change in part.objectSet or ():
                    self._note(id_of(change.obj), change)
                for gone in part.missingSet or ():
                    self._states[id_of(gone.obj)] = _MISSING

    def _note(self, task: str, change: Any) -> None:
        known = self._states.get(task, TaskState())
        values = {one.name: one.val for one in change.changeSet or ()}
        state, result = values.get("info.state", known.state), values.get("info.result", known.result)
        gone = str(change.kind) == "leave"
        self._states[task] = _MISSING if gone else TaskState(state=str(state), result=result)

    def _drop_filters(self) -> None:
        """Forget the filters that watch no task any more that somebody waits for."""
        with self._lock:
            done = [name for name, (_, watched) in self._filters.items() if not self._is_open(watched)]
            filters = [self._filters.pop(name)[0] for name in done]
        for found in filters:
            with contextlib.suppress(ProviderError):
                self._drop(found)

    def _is_open(self, watched: set[str]) -> bool:
        return any(not _over(self._states.get(task)) for task in watched & self._wanted)

    def _drop(self, found: Any) -> None:
        self._session.change("wait for tasks", lambda _: found.DestroyPropertyFilter())

    def _forget_collector(self) -> None:
        with self._lock:
            self._collector, self._version = None, ""
            self._filters.clear()


def _over(known: TaskState | None) -> TaskState | None:
    """Return *known* when the task is not queued or running any more, else None."""
    return known if known is not None and known.state not in ("queued", "running") else None

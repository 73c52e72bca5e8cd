"""Waiting for many tasks with one thread and one request at a time."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import Future
from concurrent.futures import TimeoutError as FutureTimeoutError
from typing import Any, Final

from quiesce.errors import NonRecoverableError, OperationTimeoutError, ProviderError, RecoverableError
from quiesce.providers.vsphere.center import Patience
from quiesce.providers.vsphere.errors import of_fault
from quiesce.providers.vsphere.inventory import read_objects
from quiesce.providers.vsphere.sdk import id_of, vim, vmodl
from quiesce.providers.vsphere.session import Session
from quiesce.providers.vsphere.together import Together

#: not the error: one that the SDK cannot read would keep all others from being told
_PROPERTIES: Final = ["info.state", "info.result"]
#: how long the vCenter holds a request when nothing changes
_HOLD_S: Final = 20
#: how often a waiting thread looks whether anybody still wants its answer
_GLANCE_S: Final = 0.25
_GOODBYE_S: Final = 5.0


class Tasks:
    """Tells when tasks are over. Filters of tasks that are started together are made together."""

    def __init__(self, session: Session) -> None:
        self._session = session
        self._lock = threading.Lock()
        self._changed = threading.Condition(self._lock)
        self._pending: dict[str, _Pending] = {}
        self._collector: Any = None
        self._filters: dict[str, tuple[Any, set[str]]] = {}
        self._closed = False
        self._thread: threading.Thread | None = None
        self._adding: Together[str, bool] = Together(self._add)

    def result(self, task: Any, what: str, patience: Patience, *, cancel: bool = False) -> Any:
        """Return the task's result once it has succeeded.

        Raises:
            OperationTimeoutError: when *patience* ran out; with *cancel* the task was asked to stop.
            ProviderError: when the task failed.
        """
        pending = self._watch(id_of(task))
        try:
            state, result = self._await(pending, patience)
        except FutureTimeoutError:
            if cancel:
                self._cancel(task)
            raise OperationTimeoutError(f"cannot {what}: it takes longer than allowed") from None
        finally:
            self._forget(id_of(task))
        if state == "error":
            raise self._error_of(task, what)
        return result

    def close(self) -> None:
        """End the thread."""
        with self._lock:
            self._closed = True
            self._changed.notify_all()
        collector = self._collector
        if collector is not None:
            with contextlib.suppress(ProviderError):
                self._session.change(
                    "stop waiting", lambda _: collector.DestroyPropertyCollector(), limit_s=_GOODBYE_S
                )
        if self._thread is not None:
            self._thread.join(timeout=_GOODBYE_S)

    def _watch(self, moid: str) -> _Pending:
        with self._lock:
            pending = self._pending.setdefault(moid, _Pending())
            pending.watchers += 1
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="vsphere-tasks", daemon=True)
                self._thread.start()
        try:
            self._adding.get(moid)
        except ProviderError:
            self._forget(moid)
            raise
        return pending

    def _error_of(self, task: Any, what: str) -> ProviderError:
        try:
            read = read_objects(self._session, vim.Task, [id_of(task)], ["info.error"])
        except NonRecoverableError as error:
            return error
        fault = read.get(id_of(task), {}).get("info.error")
        if isinstance(fault, BaseException):
            return of_fault(fault, what)
        return RecoverableError(f"cannot {what}: its task failed, and vCenter does not say why any more")

    def _await(self, pending: _Pending, patience: Patience) -> tuple[str, Any]:
        while True:
            left = patience.remaining_s()
            if left <= 0 or patience.given_up():
                raise FutureTimeoutError
            with contextlib.suppress(FutureTimeoutError):
                return pending.over.result(timeout=min(_GLANCE_S, left))

    def _cancel(self, task: Any) -> None:
        with contextlib.suppress(ProviderError):
            self._session.change("cancel a task", lambda _: task.CancelTask(), limit_s=5.0)

    def _forget(self, moid: str) -> None:
        with self._lock:
            pending = self._pending.get(moid)
            if pending is not None:
                pending.watchers -= 1
                if pending.watchers <= 0:
                    del self._pending[moid]

    # -- the waiting thread ----------------------------------------------------------------------------

    def _add(self, moids: Sequence[str]) -> Mapping[str, bool | Exception]:
        """Watch all of *moids* with one filter."""
        with self._lock:
            collector = self._collector
        try:
            if collector is None:
                self._begin_anew()
            else:
                self._filter(collector, moids)
        except ProviderError:
            self._begin_anew()
        with self._lock:
            self._changed.notify_all()
        return dict.fromkeys(moids, True)

    def _begin_anew(self) -> None:
        """Watch everything that is waited for with a new collector."""
        collector = self._session.read(
            "wait for tasks", lambda content: content.propertyCollector.CreatePropertyCollector()
        )
        with self._lock:
            self._collector = collector
            self._filters.clear()
            moids = [moid for moid, pending in self._pending.items() if not pending.over.done()]
        if moids:
            self._filter(collector, moids)

    def _filter(self, collector: Any, moids: Sequence[str]) -> None:
        query = vmodl.query.PropertyCollector
        spec = query.FilterSpec(
            objectSet=[query.ObjectSpec(obj=self._session.bind(vim.Task, moid)) for moid in moids],
            propSet=[query.PropertySpec(type=vim.Task, pathSet=_PROPERTIES)],
            reportMissingObjectsInResults=True,
        )
        made = self._session.change("wait for tasks", lambda _: collector.CreateFilter(spec, False))
        with self._lock:
            self._filters[id_of(made)] = (made, set(moids))

    def _run(self) -> None:
        collector, version = None, ""
        while (found := self._something_to_do()) is not None:
            if found is not collector:
                collector, version = found, ""
            try:
                version = self._wait_once(collector, version)
            except ProviderError:
                version = self._after_trouble(collector)

    def _something_to_do(self) -> Any:
        """Return the collector once there is a task to wait for; None when all is over."""
        with self._lock:
            while not self._closed and (self._collector is None or not self._filters):
                self._changed.wait()
            return None if self._closed else self._collector

    def _wait_once(self, collector: Any, version: str) -> str:
        options = vmodl.query.PropertyCollector.WaitOptions(maxWaitSeconds=_HOLD_S)
        update = self._session.change(
            "wait for tasks", lambda _: collector.WaitForUpdatesEx(version, options), limit_s=_HOLD_S + 20
        )
        if update is None:
            return version
        for part in update.filterSet or ():
            for change in part.objectSet or ():
                self._take_in(change)
        self._drop_done_filters()
        return str(update.version)

    def _take_in(self, change: Any) -> None:
        with self._lock:
            pending = self._pending.get(id_of(change.obj))
        if pending is None:
            return
        for one in change.changeSet or ():
            pending.values[one.name] = one.val
        state = pending.values.get("info.state")
        if state in ("success", "error") and not pending.over.done():
            pending.over.set_result((str(state), pending.values.get("info.result")))

    def _drop_done_filters(self) -> None:
        with self._lock:
            done = [name for name, (_, moids) in self._filters.items() if not self._open(moids)]
            filters = [self._filters.pop(name)[0] for name in done]
        for one in filters:
            with contextlib.suppress(ProviderError):
                self._drop(one)

    def _drop(self, one: Any) -> None:
        self._session.change("wait for tasks", lambda _: one.DestroyPropertyFilter())

    def _open(self, moids: set[str]) -> bool:
        return any(
            not pending.over.done() for moid in moids if (pending := self._pending.get(moid)) is not None
        )

    def _after_trouble(self, collector: Any) -> str:
        """Begin anew with another collector: the session may have ended, and its collectors with it."""
        time.sleep(_GLANCE_S)
        with self._lock:
            if self._closed or self._collector is not collector:
                return ""
        with contextlib.suppress(ProviderError):
            self._begin_anew()
        return ""


class _Pending:
    """A task that somebody waits for."""

    def __init__(self) -> None:
        self.over: Future[tuple[str, Any]] = Future()
        self.values: dict[str, Any] = {}
        self.watchers = 0

"""The queue of executions: Procrastinate, in the PostgreSQL that holds everything else.

A job is one execution, never a step. It holds the execution's id, made by whoever sends it, so that whoever
takes up a job that another worker has left behind continues that execution, or finds it ended: nothing runs
twice. The job's own number means nothing: it begins anew where the queue's tables are made anew.
Jobs of one queue and deployment run one after the other. No secret is in a job: it holds what the command
line was given.
"""

from __future__ import annotations

import asyncio
import contextlib
import datetime as dt
import os
import signal
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import procrastinate
from procrastinate import exceptions, jobs, retry

from quiesce import __version__
from quiesce.errors import ExitStatus, QuiesceError, StoreError, UnknownNameError
from quiesce.model.request import WorkflowRequest

#: where jobs go that name no queue
CENTRAL: Final = "central"
#: how often a worker says that it lives, and after how long without a word its jobs are taken up, in seconds
_HEARTBEAT_S: Final = 3.0
_STALLED_S: Final = 15.0
#: how long a job rests that could not be run now, in seconds: twice as long each time, up to the second
_PAUSE_S: Final = 2
_LONGEST_PAUSE_S: Final = 60
#: the channel on which a machine's workers hear that they are to end
_DRAIN: Final = "quiesce_drain"
_TASK: Final = "quiesce.run"
#: what a worker's sessions are called: a prefix, then host, process and version
_SESSION: Final = "quiesce-worker "
_WORKERS: Final = (
    "SELECT DISTINCT application_name AS name FROM pg_stat_activity"
    " WHERE datname = current_database() AND application_name LIKE 'quiesce-worker %%' ORDER BY name"
)

Run = Callable[[WorkflowRequest, str], Awaitable[int]]


@dataclass(frozen=True, slots=True, kw_only=True)
class SeenWorker:
    """A worker with a living session."""

    host: str
    pid: int
    version: str


@dataclass(frozen=True, slots=True, kw_only=True)
class QueueState:
    """How many jobs of a queue wait, run, and have failed."""

    name: str
    waiting: int
    running: int
    failed: int


def host_queue(host: str) -> str:
    """Return the queue of what only the machine *host* can do."""
    return f"host/{host}"


def send(url: str, request: WorkflowRequest, execution: str, queue: str) -> None:
    """Put *request* into *queue*, to be run as *execution*.

    Raises:
        StoreError: when the database cannot be used.
    """
    with _opened(url) as app:
        task = app.configure_task(_TASK, queue=queue, lock=f"{queue}/{request.deployment}")
        task.defer(
            execution=execution,
            deployment=request.deployment,
            workflow=request.workflow,
            parameters=dict(request.parameters),
            allow_custom=request.allow_custom_parameters,
            here=request.here,
        )


def workers(url: str) -> Sequence[SeenWorker]:
    """Return the workers that have a session now."""
    with _opened(url) as app:
        rows = app.connector.get_sync_connector().execute_query_all(_WORKERS)
    return [_seen(row["name"].removeprefix(_SESSION)) for row in rows]


def drain(url: str, host: str) -> Sequence[SeenWorker]:
    """Tell the workers of the machine *host* to begin nothing new, and to end; return them.

    Raises:
        UnknownNameError: when no worker lives there.
    """
    living = workers(url)
    told = [each for each in living if each.host == _shown(host)]
    if not told:
        raise UnknownNameError("worker on a machine", host, {each.host for each in living})
    with _opened(url) as app:
        query = "SELECT pg_notify(%(channel)s, %(host)s)"
        app.connector.get_sync_connector().execute_query(query, channel=_DRAIN, host=host)
    return told


def queues(url: str) -> Sequence[QueueState]:
    """Return the queues that have, or had, jobs."""
    with _opened(url) as app:
        return [
            QueueState(name=row["name"], waiting=row["todo"], running=row["doing"], failed=row["failed"])
            for row in app.job_manager.list_queues()
        ]


def work(url: str, host: str, names: Sequence[str], concurrency: int, run: Run) -> None:
    """Run the jobs of the queues *names* by *run* until SIGTERM or SIGINT; return when the last has ended.

    *host* is what this machine is called.

    *run* is given the request and the id of its execution, and returns an exit status.

    Raises:
        StoreError: when the database cannot be used.
    """
    with _errors():
        _make_tables(url)
        asyncio.run(_work(url, host, names, concurrency, run))


async def _work(url: str, host: str, names: Sequence[str], concurrency: int, run: Run) -> None:
    name = f"{_shown(host)}/{os.getpid()} {__version__}"
    app = _app(url, f"{_SESSION}{name}"[:63])

    async def perform(**told: Any) -> None:
        status = await run(_request(told), told["execution"])
        _conclude(status, told["deployment"])

    app.task(name=_TASK, retry=_Rest())(perform)
    async with app.open_async():
        beside = [
            asyncio.create_task(_take_up_stalled(app, names)),
            asyncio.create_task(_hear_drain(app, host)),
        ]
        try:
            await app.run_worker_async(
                queues=list(names),
                name=name,
                concurrency=concurrency,
                delete_jobs=jobs.DeleteJobCondition.SUCCESSFUL,
                fetch_job_polling_interval=1.0,
                update_heartbeat_interval=_HEARTBEAT_S,
                stalled_worker_timeout=_STALLED_S,
            )
        finally:
            for each in beside:
                each.cancel()


async def _hear_drain(app: procrastinate.App, host: str) -> None:
    """Do as on SIGTERM when this machine's workers are told to end."""

    async def drained(*, channel: str, payload: str) -> None:
        del channel
        if payload == host:
            os.kill(os.getpid(), signal.SIGTERM)

    while True:
        with contextlib.suppress(exceptions.ConnectorException):
            await app.connector.listen_notify(on_notification=drained, channels=[_DRAIN])
        await asyncio.sleep(_HEARTBEAT_S)


async def _take_up_stalled(app: procrastinate.App, names: Sequence[str]) -> None:
    """Let jobs run again whose worker has fallen silent; Procrastinate does not do so by itself."""
    while True:
        await asyncio.sleep(_HEARTBEAT_S)
        with contextlib.suppress(exceptions.ConnectorException):  # the worker itself meets the same error
            for queue in names:
                for job in await app.job_manager.get_stalled_jobs(
                    queue=queue, seconds_since_heartbeat=_STALLED_S
                ):
                    await app.job_manager.retry_job_by_id_async(job.id, _now())


class _NotNowError(QuiesceError):
    """A job could not be run now."""


class _Rest(retry.BaseRetryStrategy):  # type: ignore[misc]  # it is not installed where types are checked
    """Lets a job that could not be run now rest; one that has failed is not run again."""

    def get_retry_decision(self, *, exception: BaseException, job: jobs.Job) -> retry.RetryDecision | None:
        if not isinstance(exception, _NotNowError):
            return None
        pause = min(_PAUSE_S * 2 ** min(job.attempts, 10), _LONGEST_PAUSE_S)
        return retry.RetryDecision(retry_in={"seconds": pause})


def _conclude(status: int, deployment: str) -> None:
    """Raise what lets the job rest, or fail; return when it is done."""
    if status == os.EX_TEMPFAIL:
        raise _NotNowError(f"it cannot be run on {deployment} now")
    if status != ExitStatus.OK:
        raise QuiesceError(f"the execution on {deployment} ended with status {status}")


def _request(told: Mapping[str, Any]) -> WorkflowRequest:
    return WorkflowRequest(
        deployment=told["deployment"],
        workflow=told["workflow"],
        parameters=told["parameters"],
        allow_custom_parameters=told["allow_custom"],
        here=told["here"],
    )


def _shown(host: str) -> str:
    """Return what fits into the name of a session."""
    return host[:30]


def _seen(name: str) -> SeenWorker:
    host, _, rest = name.partition("/")
    pid, _, version = rest.partition(" ")
    return SeenWorker(host=host, pid=int(pid), version=version)


def _app(url: str, session: str) -> procrastinate.App:
    conninfo = url.replace("postgresql+psycopg://", "postgresql://", 1)
    connector = procrastinate.PsycopgConnector(conninfo=conninfo, kwargs={"application_name": session})
    return procrastinate.App(connector=connector)


@contextlib.contextmanager
def _opened(url: str) -> Iterator[procrastinate.App]:
    with _errors():
        _make_tables(url)
        app = _app(url, "quiesce")
        with app.open():
            yield app


def _make_tables(url: str) -> None:
    """Make the queue's own tables where there are none; many may try at once."""
    app = _app(url, "quiesce")
    with app.open():
        if app.check_connection():
            return
        with contextlib.suppress(exceptions.ConnectorException):
            app.schema_manager.apply_schema()
        if not app.check_connection():
            raise StoreError("the queue's tables cannot be made in this database")


@contextlib.contextmanager
def _errors() -> Iterator[None]:
    try:
        yield
    except exceptions.ConnectorException as error:
        raise StoreError(
            f"the queue cannot be used: {error.__cause__ or error}", hint="Check QUIESCE_DATABASE."
        ) from error


def _now() -> dt.datetime:
    return dt.datetime.now(tz=dt.UTC)

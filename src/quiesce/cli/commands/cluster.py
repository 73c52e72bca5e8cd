"""worker; workers list and drain."""

from __future__ import annotations

import asyncio
import json
import os
from dataclasses import asdict
from types import ModuleType

import click

from quiesce.bootstrap import Settings, require_trusted_home
from quiesce.cli.printing import say
from quiesce.cli.session import json_option
from quiesce.errors import UsageError
from quiesce.isolation.modules import own_command
from quiesce.model.request import WorkflowRequest
from quiesce.reports.escaping import printable_lines
from quiesce.reports.json import render_json


@click.command()
@click.option(
    "--queue",
    "queues",
    multiple=True,
    metavar="NAME",
    help="Run the jobs of this queue.  [default: central, and host/ and this machine's name]",
)
@click.option(
    "--concurrency", type=click.IntRange(1, 1000), default=4, show_default=True, help="So many at a time."
)
def worker(queues: tuple[str, ...], concurrency: int) -> None:
    """Run executions that other machines have put into a queue (with --queue), each in a process of its own.

    Needs a database in PostgreSQL. SIGTERM drains it: nothing new is begun, and what runs comes to its end.

    \b
    Example:
      export QUIESCE_DATABASE=postgresql+psycopg://quiesce@db/quiesce
      quiesce worker --queue host/hv1
    """
    url, cluster = _cluster()
    settings = Settings.of(os.environ)
    require_trusted_home(settings.home)
    queues = queues or (cluster.CENTRAL, cluster.host_queue(settings.host))
    cluster.work(url, settings.host, queues, concurrency, _run)


@click.group()
def workers() -> None:
    """See who runs executions, and what waits."""


@workers.command("list")
@json_option
def list_workers(as_json: bool) -> None:
    """List the workers that live, and the queues with what waits, runs and has failed in each."""
    url, cluster = _cluster()
    found = {
        "workers": [asdict(each) for each in cluster.workers(url)],
        "queues": [asdict(each) for each in cluster.queues(url)],
    }
    if as_json:
        say(render_json("workers", found))
        return
    for each in found["workers"]:
        say(printable_lines(f"{each['host']}  process {each['pid']}  quiesce {each['version']}"))
    for each in found["queues"]:
        say(
            printable_lines(
                f"queue {each['name']}: {each['waiting']} waiting, {each['running']} running, "
                f"{each['failed']} failed"
            )
        )
    if not found["workers"]:
        say("no worker lives: quiesce worker")


@workers.command("drain")
@click.argument("host", metavar="MACHINE")
@json_option
def drain_workers(host: str, as_json: bool) -> None:
    """Tell the workers of MACHINE to begin nothing new; each ends when what it runs has ended.

    \b
    Example:
      quiesce workers drain hv1
    """
    url, cluster = _cluster()
    told = [asdict(each) for each in cluster.drain(url, host)]
    if as_json:
        say(render_json("drained", told))
        return
    for each in told:
        say(printable_lines(f"{each['host']}  process {each['pid']} begins nothing new"))


def send(request: WorkflowRequest, execution: str, queue: str) -> None:
    """Put *request* into *queue*, to be run as *execution*."""
    url, cluster = _cluster()
    cluster.send(url, request, execution, queue)


async def _run(request: WorkflowRequest, execution: str) -> int:
    """Run one job in a process that outlives this one: a worker that dies stops nothing."""
    told = json.dumps(asdict(request)).encode()
    child = await asyncio.create_subprocess_exec(
        *own_command("quiesce.cli.job", execution), stdin=asyncio.subprocess.PIPE, start_new_session=True
    )
    await child.communicate(told)
    return child.returncode if child.returncode is not None and child.returncode >= 0 else os.EX_TEMPFAIL


def _cluster() -> tuple[str, ModuleType]:
    url = Settings.of(os.environ).database_url
    if not url.startswith("postgresql"):
        raise UsageError(
            "workers need a database that several machines share",
            hint="Set QUIESCE_DATABASE to postgresql+psycopg://USER@HOST/NAME.",
        )
    try:
        from quiesce.cluster import queue
    except ImportError as error:
        raise UsageError(f"{error.name} is not installed", hint="pip install 'quiesce[cluster]'") from None
    return url, queue

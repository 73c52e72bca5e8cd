"""Serve the console, metrics, and what is due, until somebody ends it."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import uvicorn

from quiesce.app.services import Services
from quiesce.bootstrap import USERS_FILE
from quiesce.isolation.modules import own_command
from quiesce.service.access import Access
from quiesce.service.app import console, monitored
from quiesce.service.audit import Audit
from quiesce.service.connections import BoundedConnection
from quiesce.service.launching import Launcher
from quiesce.service.proxy import TrustedProxy
from quiesce.service.users import Users

_LOOPBACK: Final = ("127.0.0.1", "localhost", "::1")


@dataclass(frozen=True, slots=True, kw_only=True)
class Serving:
    """How the console is served."""

    home: Path
    address: str
    port: int
    #: further names under which it may be asked for
    host_names: tuple[str, ...]
    #: how often what is due is run, in seconds; None: somebody else does
    run_due_s: float | None
    #: whether metrics may be read without a token
    open_metrics: bool
    #: whose word about who asks is believed; None: nobody's
    proxy: TrustedProxy | None = None


def serve(services: Services, serving: Serving) -> None:
    """Serve until SIGTERM or SIGINT. Executions that it started go on."""
    access = Access(
        Users(serving.home / USERS_FILE),
        frozenset((*_LOOPBACK, serving.address, *serving.host_names)),
        proxy=serving.proxy,
    )
    audit = Audit(serving.home / "console-audit.jsonl")
    application = console(services, access, Launcher(serving.home, os.environ), audit)
    if serving.open_metrics:
        application.routes.append(monitored(services, audit))
    ended = threading.Event()
    if serving.run_due_s is not None:
        threading.Thread(
            target=run_due_until, args=(ended, serving.run_due_s, os.environ), daemon=True
        ).start()
    try:
        uvicorn.run(
            application,
            host=serving.address,
            port=serving.port,
            log_level="warning",
            http=BoundedConnection,
            ws="none",  # its connections would be bounded by nothing
            server_header=False,
            proxy_headers=False,  # else whoever is on this machine says where it comes from
            timeout_graceful_shutdown=5,
        )
    finally:
        ended.set()


def run_due_until(ended: threading.Event, every_s: float, environment: Mapping[str, str]) -> None:
    """Call ``quiesce run-due`` every *every_s* seconds until *ended*; what it prints is printed."""
    while not ended.is_set():
        command = own_command("quiesce.cli.main", "run-due", "--quiet")
        try:
            running = subprocess.Popen(
                command, env=dict(environment), stdin=subprocess.DEVNULL, start_new_session=True
            )
        except OSError as error:  # no descriptor, no memory: the next time there may be
            print(f"quiesce: run-due could not be started: {error.strerror}", file=sys.stderr)
        else:
            while running.poll() is None and not ended.wait(0.2):
                pass
        ended.wait(every_s)

"""Whether what was restored answers: asked again until it does, or its time is over."""

from __future__ import annotations

import http.client
import socket
import time
from typing import Final
from urllib.parse import urlsplit

from quiesce.errors import NonRecoverableError, OperationTimeoutError, ProbeFailedError
from quiesce.provider_kit.commands import NodeCommands
from quiesce.providers.host.job import HostJob
from quiesce.providers.host.options import Probe

_PAUSE_S: Final = 0.2
#: how long one answer is waited for, in seconds
_ANSWER_S: Final = 5.0
#: the first status of HTTP that is an error
_HTTP_ERRORS: Final = 400


def wait_for_answer(job: HostJob, commands: NodeCommands, probe: Probe) -> None:
    """Return when *probe* is answered as it should be.

    Raises:
        ProbeFailedError: when it was not within the call's time, with the last reason.
    """
    ends = time.monotonic() + max(0.0, job.context.remaining_s() - _PAUSE_S)
    while (reason := _why_not(job, commands, probe, ends)) is not None:
        if time.monotonic() + _PAUSE_S >= ends or job.context.given_up():
            raise ProbeFailedError(f"{job.call.instance} does not answer as it should: {reason}")
        time.sleep(_PAUSE_S)


def _why_not(job: HostJob, commands: NodeCommands, probe: Probe, ends: float) -> str | None:
    patience = max(0.1, min(_ANSWER_S, ends - time.monotonic()))
    if probe.command:
        return _command(job, commands, probe.command)
    try:
        if probe.address is not None:
            socket.create_connection(probe.address, timeout=patience).close()
            return None
        return _http(probe.url, patience)
    except (OSError, http.client.HTTPException) as error:
        return f"{probe.url or _shown(probe)}: {error or type(error).__name__}"


def _command(job: HostJob, commands: NodeCommands, command: str) -> str | None:
    try:
        said = commands.run_shell(job, command)
    except OperationTimeoutError as error:
        return str(error)
    return None if said.status == 0 else f"{command!r} ended with {said}"


def _http(url: str, patience_s: float) -> str | None:
    parts = urlsplit(url)
    if parts.hostname is None:
        raise NonRecoverableError(f"{url!r} names no host")
    kind = http.client.HTTPSConnection if parts.scheme == "https" else http.client.HTTPConnection
    connection = kind(parts.hostname, parts.port, timeout=patience_s)
    try:
        path = f"{parts.path or '/'}?{parts.query}" if parts.query else parts.path or "/"
        connection.request("GET", path, headers={"Connection": "close"})
        status = connection.getresponse().status
    finally:
        connection.close()
    return None if status < _HTTP_ERRORS else f"{url} answers with status {status}"


def _shown(probe: Probe) -> str:
    return "" if probe.address is None else f"{probe.address[0]} port {probe.address[1]}"

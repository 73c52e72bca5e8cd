"""One login to one vCenter, shared by every thread."""

from __future__ import annotations

import contextlib
import http.client
import socket
import ssl
import threading
from collections.abc import Callable, Iterator
from typing import Any, Final, TypeVar
from xml.parsers.expat import ExpatError

from quiesce.errors import NonRecoverableError
from quiesce.provider_kit.deadline import Deadline
from quiesce.provider_kit.discovery import UnhurriedContext
from quiesce.providers.vsphere.endpoint import VCenterEndpoint
from quiesce.providers.vsphere.errors import translated
from quiesce.providers.vsphere.session.sdk import SoapStubAdapter, vim

T = TypeVar("T")

#: the API version that is spoken; vCenter 6.5 and newer know it
_VERSION: Final = "vim.version.version11"
#: the longest that one request may take, unless its caller has less time
_REQUEST_S: Final = 60.0
_CONNECT_S: Final = 10.0
#: more threads than this share connections by opening new ones
_POOL: Final = 64
#: how often a request that only reads is sent again after a lost connection
_TRIES: Final = 3
_LOST: Final = (OSError, http.client.HTTPException, ExpatError)


class VCenterSession:
    """Sends requests; logs in when needed, and again when the session has expired."""

    def __init__(self, endpoint: VCenterEndpoint) -> None:
        self.endpoint = endpoint
        self.tls = _tls(endpoint)
        self._limits = _Limits()
        self._stub = _Stub(endpoint, self.tls, self._limits)
        self._lock = threading.Lock()
        #: counts logins, so that of many threads that find the session expired one logs in
        self._generation = 0
        self._content: Any = None

    @property
    def cookie(self) -> str:
        """What identifies the session to the vCenter's file service."""
        return str(self._stub.cookie or "").split(";")[0]

    def bind(self, kind: Any, moid: str) -> Any:
        """Return the managed object of that id."""
        return kind(moid, self._stub)

    def read(self, what: str, action: Callable[[Any], T], deadline: Deadline | None = None) -> T:
        """Return what *action* answers, given the service content; sent again when the way was lost.

        Raises:
            ProviderError: in our words, about *what*.
        """
        deadline = deadline or Deadline(UnhurriedContext(_REQUEST_S), "vCenter")
        for attempt in range(1, _TRIES):
            with translated(what):
                try:
                    return self._send(action, deadline.left_s(_REQUEST_S))
                except (ssl.SSLCertVerificationError, TimeoutError):
                    raise
                except _LOST:
                    pass
            deadline.back_off(attempt)
        return self.change(what, action, deadline)

    def change(
        self,
        what: str,
        action: Callable[[Any], T],
        deadline: Deadline | None = None,
        most_s: float = _REQUEST_S,
    ) -> T:
        """Return what *action* answers; sent once only, for a lost answer may mean that it happened.

        Raises:
            ProviderError: in our words, about *what*.
        """
        limit_s = deadline.left_s(most_s) if deadline is not None else most_s
        with translated(what):
            return self._send(action, limit_s)

    def close(self) -> None:
        """Log out; it is fine when the vCenter does not answer."""
        with self._lock:
            content, self._content = self._content, None
        if content is not None:
            logged_out = contextlib.suppress(*_LOST, vim.fault.NotAuthenticated)
            with logged_out, self._limits.within(5.0):
                content.sessionManager.Logout()
        self._stub.DropConnections()

    def _send(self, action: Callable[[Any], T], limit_s: float) -> T:
        with self._limits.within(limit_s):
            content, generation = self._logged_in()
            try:
                return action(content)
            except vim.fault.NotAuthenticated:
                self._log_in_again(generation)
                return action(content)

    def _logged_in(self) -> tuple[Any, int]:
        with self._lock:
            if self._content is None:
                content = vim.ServiceInstance("ServiceInstance", self._stub).RetrieveContent()
                self._log_in(content)
                self._content = content
            return self._content, self._generation

    def _log_in_again(self, generation: int) -> None:
        with self._lock:
            if self._generation == generation and self._content is not None:
                self._log_in(self._content)

    def _log_in(self, content: Any) -> None:
        content.sessionManager.Login(self.endpoint.username, self.endpoint.password)
        self._generation += 1


class _Limits(threading.local):
    """How long the requests of the present thread may take."""

    seconds = _REQUEST_S

    @contextlib.contextmanager
    def within(self, seconds: float) -> Iterator[None]:
        before, self.seconds = self.seconds, max(0.1, seconds)
        try:
            yield
        finally:
            self.seconds = before


class _Stub(SoapStubAdapter):  # type: ignore[misc]
    """The SDK's transport, with a time limit for each request rather than for each connection."""

    def __init__(self, endpoint: VCenterEndpoint, tls: ssl.SSLContext, limits: _Limits) -> None:
        super().__init__(
            host=endpoint.host,
            port=endpoint.port,
            version=_VERSION,
            sslContext=tls,
            poolSize=_POOL,
            httpConnectionTimeout=_CONNECT_S,
        )
        self._limits = limits

    def InvokeMethod(self, mo: Any, info: Any, args: Any, outerStub: Any = None) -> Any:  # noqa: N802, N803
        """Send a request; an answer of another type than its method has is none."""
        answer = super().InvokeMethod(mo, info, args, outerStub)
        if outerStub is None and answer is not None and not isinstance(answer, info.result):
            raise http.client.HTTPException(f"{type(answer).__name__} is not what {info.name} answers")
        return answer

    def GetConnection(self) -> Any:  # noqa: N802  the SDK's name
        connection = super().GetConnection()
        if isinstance(connection.sock, socket.socket):
            connection.sock.settimeout(self._limits.seconds)
        return connection


def _tls(endpoint: VCenterEndpoint) -> ssl.SSLContext:
    try:
        context = ssl.create_default_context(
            cafile=endpoint.certificate_path, cadata=endpoint.certificate_data
        )
    except (OSError, ssl.SSLError, ValueError) as error:
        raise NonRecoverableError(
            f"the certificate for {endpoint} cannot be read: {error}",
            hint="certificate_path names a PEM file; certificate_data is its text.",
        ) from error
    if endpoint.allow_insecure:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    return context

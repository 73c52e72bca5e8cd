"""Who is asking, and whether they may: sessions, roles, and what keeps other people's pages from acting."""

from __future__ import annotations

import hmac
import math
import secrets
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final
from urllib.parse import SplitResult, urlsplit

from starlette.requests import Request
from starlette.responses import Response

from quiesce.errors import QuiesceError
from quiesce.service.proxy import TrustedProxy
from quiesce.service.users import ConsoleUser, UserRole, Users

COOKIE: Final = "quiesce_session"
_SESSION_S: Final = 12 * 3600.0
#: a wrong token costs so long, in seconds
WRONG_TOKEN_S: Final = 1.0
_SAFE_METHODS: Final = frozenset({"GET", "HEAD"})

HEADERS: Final = {
    "Content-Security-Policy": "default-src 'none'; style-src 'self'; script-src 'self'; connect-src 'self'; "
    "img-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'",
    "X-Frame-Options": "DENY",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cache-Control": "no-store",
}


class RequestRefusedError(QuiesceError):
    """A request is not allowed."""

    code = "request-refused"

    def __init__(self, message: str, status: int) -> None:
        super().__init__(message)
        self.status = status


@dataclass(slots=True, kw_only=True)
class ConsoleSession:
    """A user who is logged in."""

    user: ConsoleUser
    #: must come with whatever changes something: another site's page cannot know it
    csrf: str
    ends: float
    #: whether a reverse proxy says who it is, and ends it
    proxied: bool = False


class Access:
    """Keeps the sessions, in memory: a restart logs everybody out."""

    def __init__(
        self,
        users: Users,
        hosts: frozenset[str],
        clock: Callable[[], float] = time.monotonic,
        proxy: TrustedProxy | None = None,
    ) -> None:
        """*hosts* are the names under which the console may be asked for; a *proxy* may say who asks."""
        self._users = users
        self._proxy = proxy
        self._proxied: dict[str, ConsoleSession] = {}
        self._hosts = hosts
        self._clock = clock
        self._sessions: dict[str, ConsoleSession] = {}

    def check_host(self, request: Request) -> None:
        """Refuse a name that is not ours: another's domain may point here (DNS rebinding).

        Raises:
            RequestRefusedError: naming what to say to allow it.
        """
        host = _parts(f"//{request.headers.get('host', '')}").hostname or ""
        if host not in self._hosts:
            raise RequestRefusedError(f"{host!r} is no name of this console; see --host-name", 421)

    def log_in(self, request: Request, token: str) -> str:
        """Return the cookie of a new session.

        Raises:
            RequestRefusedError: when nobody has that token.
        """
        self._check_origin(request)
        user = self._users.of_token(token)
        if user is None:
            raise RequestRefusedError("nobody has this token", 401)
        now = self._clock()
        self._sessions = {key: kept for key, kept in self._sessions.items() if kept.ends > now}
        key = secrets.token_urlsafe(32)
        self._sessions[key] = ConsoleSession(user=user, csrf=secrets.token_urlsafe(32), ends=now + _SESSION_S)
        return key

    def log_out(self, request: Request) -> None:
        """End the request's session."""
        self._sessions.pop(request.cookies.get(COOKIE, ""), None)

    def session(self, request: Request) -> ConsoleSession | None:
        """Return the request's session, with the role that its user has now; None: there is none.

        Whom the proxy names, if it is a user, is who asks, whatever cookie comes along.
        """
        return self._by_proxy(request) or self._by_cookie(request)

    def _by_proxy(self, request: Request) -> ConsoleSession | None:
        name = self._proxy.user_named(request) if self._proxy is not None else None
        if name is None:
            return None
        user = next((user for user in self._users.list() if user.name == name), None)
        if user is None:
            return None
        kept = self._proxied.get(user.name)
        if kept is None or kept.user.digest != user.digest:
            csrf = secrets.token_urlsafe(32)
            kept = self._proxied[user.name] = ConsoleSession(
                user=user, csrf=csrf, ends=math.inf, proxied=True
            )
        kept.user = user
        return kept

    def _by_cookie(self, request: Request) -> ConsoleSession | None:
        kept = self._sessions.get(request.cookies.get(COOKIE, ""))
        if kept is None or kept.ends <= self._clock():
            return None
        now = {user.name: user for user in self._users.list()}.get(kept.user.name)
        if now is None or now.digest != kept.user.digest:
            self.log_out(request)
            return None
        kept.user = now
        return kept

    def allows(self, request: Request, role: UserRole) -> bool:
        """Tell whether the request's session, if it is one still, may do what needs *role*."""
        try:
            session = self.session(request)
        except QuiesceError:  # nobody knows who the users are
            return False
        return session is not None and session.user.role >= role

    def require(self, request: Request, role: UserRole, csrf: str) -> ConsoleSession:
        """Return the session of somebody who may do what needs *role*.

        Raises:
            RequestRefusedError: when nobody is logged in, the role is lower, or another site's page asks.
        """
        session = self.session(request)
        if session is None:
            raise RequestRefusedError("log in first", 401)
        if request.method not in _SAFE_METHODS:
            self._check_origin(request)
            if not hmac.compare_digest(csrf.encode(), session.csrf.encode()):
                raise RequestRefusedError("this form is of another session: load the page again", 403)
        if session.user.role < role:
            raise RequestRefusedError(
                f"this needs the role {role.label}; yours is {session.user.role.label}", 403
            )
        return session

    def _check_origin(self, request: Request) -> None:
        """Refuse what another site's page sends: browsers say where a form comes from."""
        site = request.headers.get("sec-fetch-site", "same-origin")
        origin = request.headers.get("origin")
        if site not in ("same-origin", "none"):
            raise RequestRefusedError("another site's page may not do this", 403)
        if origin is not None and _parts(origin).netloc != request.headers.get("host", ""):
            raise RequestRefusedError("another site's page may not do this", 403)


def _parts(address: str) -> SplitResult:
    """Return the parts of an address; of one that is none, none."""
    try:
        return urlsplit(address)
    except ValueError:
        return urlsplit("")


def secured(response: Response) -> Response:
    """Return *response* with the headers that every page has."""
    response.headers.update(HEADERS)
    return response

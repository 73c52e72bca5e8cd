"""Tell people by apprise (mail, chat, webhooks), and call URLs whose owner raises an alarm otherwise."""

from __future__ import annotations

import http.client
import platform
import urllib.error
import urllib.request
from collections.abc import Sequence
from typing import Any, Final
from urllib.parse import urlsplit

from quiesce.errors import NonRecoverableError, RecoverableError
from quiesce.isolation.patience import within

_SCHEMES: Final = ("http", "https")
_TIMEOUT_S: Final = 20.0
#: how long all of it may take, however slowly somebody answers
_TOGETHER_S: Final = 60.0


class WebMessenger:
    """Answers the port `Messenger`."""

    def tell(self, url: str, title: str, lines: Sequence[str]) -> None:
        """Send a message to where the apprise URL *url* says; its title names this machine."""
        try:
            import apprise
        except ImportError:
            raise NonRecoverableError(
                "notifications need the Python package apprise", hint="pip install quiesce[notify]"
            ) from None
        sender = apprise.Apprise()
        if not sender.add(url):
            raise NonRecoverableError(
                "the secret is no URL that apprise knows", hint="Such as mailto://, slack:// or json://."
            )
        try:
            accepted = within(
                _TOGETHER_S,
                lambda: sender.notify(
                    title=f"{title} ({platform.node()})",
                    body="\n".join(lines),
                    notify_type=apprise.NotifyType.FAILURE,
                ),
            )
        except TimeoutError:
            accepted = False
        if not accepted:
            raise RecoverableError("the message was not accepted")

    def ping(self, url: str) -> None:
        """Call *url*."""
        if urlsplit(url).scheme not in _SCHEMES:
            raise NonRecoverableError("the secret is no http or https URL")
        try:
            within(_TOGETHER_S, lambda: _call(url))
        except (urllib.error.URLError, http.client.HTTPException, OSError, ValueError) as error:
            raise RecoverableError(f"it was not reached: {type(error).__name__}") from None


class _SameHost(urllib.request.HTTPRedirectHandler):
    """Follows no redirection to another host: a page to log in at is not whom we have called."""

    def redirect_request(self, *arguments: Any) -> urllib.request.Request | None:
        """Return the request that follows."""
        following = super().redirect_request(*arguments)
        if following is not None:
            came_from, leads_to = (urlsplit(url) for url in (arguments[0].full_url, following.full_url))
            if leads_to.hostname != came_from.hostname or leads_to.scheme not in _SCHEMES:
                arguments[1].close()
                raise urllib.error.URLError("it redirects to another host")
        return following


def _call(url: str) -> None:
    try:
        with urllib.request.build_opener(_SameHost).open(url, timeout=_TIMEOUT_S) as answer:
            answer.read(1)
    except urllib.error.HTTPError as refusal:
        refusal.close()
        raise

"""Tell people by apprise (mail, chat, webhooks), and call URLs whose owner raises an alarm otherwise."""

from __future__ import annotations

import urllib.error
import urllib.request
from collections.abc import Sequence
from typing import Final
from urllib.parse import urlsplit

from quiesce.errors import NonRecoverableError, RecoverableError

_TIMEOUT_S: Final = 20.0


class WebMessenger:
    """Answers the port `Messenger`."""

    def tell(self, url: str, title: str, lines: Sequence[str]) -> None:
        """Send a message to where the apprise URL *url* says."""
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
        if not sender.notify(title=title, body="\n".join(lines)):
            raise RecoverableError("the message was not accepted; it is sent again with the next run-due")

    def ping(self, url: str) -> None:
        """Call *url*."""
        if urlsplit(url).scheme not in ("http", "https"):
            raise NonRecoverableError("the secret is no http or https URL")
        try:
            with urllib.request.urlopen(url, timeout=_TIMEOUT_S) as answer:  # noqa: S310  checked above
                answer.read(1)
        except (urllib.error.URLError, OSError, ValueError) as error:
            raise RecoverableError(f"it was not reached: {type(error).__name__}") from None

"""What the use cases ask of whoever brings messages to people."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol


class Messenger(Protocol):
    """Brings messages. Both calls are bounded in time; the URLs are secrets, and never in an error's text."""

    def tell(self, url: str, title: str, lines: Sequence[str]) -> None:
        """Send a message to where *url* says.

        Raises:
            ProviderError: when it was not accepted.
        """
        ...

    def ping(self, url: str) -> None:
        """Call *url*: who waits behind it raises an alarm when this does not happen in time.

        Raises:
            ProviderError: when it was not reached.
        """
        ...

"""Users whom a reverse proxy has logged in, and says so in a header: believed from that proxy alone."""

from __future__ import annotations

import hmac
from dataclasses import dataclass, field
from typing import Final

from starlette.requests import Request

#: what shows that it is the proxy: any process on its machine has its address
PROOF_HEADER: Final = "x-quiesce-proxy"
#: a secret that could be guessed is none
LEAST_SECRET: Final = 16


@dataclass(frozen=True, slots=True, kw_only=True)
class TrustedProxy:
    """A proxy that says who asks."""

    #: where its connections come from
    address: str
    #: the header that it puts the user's name into
    header: str
    #: what it sends as `PROOF_HEADER`
    secret: str = field(repr=False)

    def user_named(self, request: Request) -> str | None:
        """Return whom the proxy names; None: it is not the proxy who asks, or it names nobody, or several."""
        if request.client is None or request.client.host != self.address:
            return None
        shown = request.headers.getlist(PROOF_HEADER)
        if len(shown) != 1 or not hmac.compare_digest(shown[0].encode(), self.secret.encode()):
            return None
        names = request.headers.getlist(self.header)
        return names[0] if len(names) == 1 and names[0] else None

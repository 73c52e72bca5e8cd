"""Connections of the console: bounded in number, and in how long they may be there without asking."""

from __future__ import annotations

import asyncio

from uvicorn.protocols.http.h11_impl import H11Protocol

#: how many there may be at once; the machine's policies are run by the same process, which needs descriptors
MOST_CONNECTIONS = 256
#: how long one may take until its first request is there, in seconds
FIRST_REQUEST_S = 20.0


class BoundedConnection(H11Protocol):
    """A connection that is closed when it is one too many, or asks for nothing."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Begin it, or end it at once."""
        super().connection_made(transport)
        if len(self.connections) > MOST_CONNECTIONS:
            transport.abort()
            return
        self.loop.call_later(FIRST_REQUEST_S, self._close_when_idle)

    def _close_when_idle(self) -> None:
        if self.cycle is None and not self.transport.is_closing():
            self.transport.close()

"""Connections of the console: bounded in number, and in how long each may keep us waiting."""

from __future__ import annotations

import asyncio

from uvicorn.protocols.http.h11_impl import H11Protocol

#: how many there may be at once; the machine's policies are run by the same process, which needs descriptors
MOST_CONNECTIONS = 256
#: how long one may take until a request is there: its first one, or the next after an answer, in seconds
NEXT_REQUEST_S = 20.0
#: how long one may leave lying what it was sent, in seconds
UNREAD_S = 60.0


class BoundedConnection(H11Protocol):
    """A connection that is ended when it is one too many, asks for nothing, or does not take its answer."""

    _unread: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Begin it, or end it at once."""
        super().connection_made(transport)
        if len(self.connections) > MOST_CONNECTIONS:
            transport.abort()
            return
        self._await_request()

    def on_response_complete(self) -> None:
        """Wait for the next request, not for ever: neither for its head nor for the rest of the last one."""
        self._await_request()
        super().on_response_complete()

    def pause_writing(self) -> None:
        """Note that nothing is read at the other end."""
        super().pause_writing()
        self._unread = self.loop.call_later(UNREAD_S, self.transport.abort)

    def resume_writing(self) -> None:
        """Note that it is read again."""
        self._forget_unread()
        super().resume_writing()

    def connection_lost(self, exc: Exception | None) -> None:
        """Let go of what waits for it."""
        self._forget_unread()
        super().connection_lost(exc)

    def _await_request(self) -> None:
        self.loop.call_later(NEXT_REQUEST_S, self._abort_after, self.cycle)

    def _abort_after(self, answered: object) -> None:
        """End it when nothing has been asked for since *answered*, though bytes may wait to be sent."""
        if self.cycle is answered:
            self.transport.abort()

    def _forget_unread(self) -> None:
        if self._unread is not None:
            self._unread.cancel()
            self._unread = None

"""What goes wrong, where and how often."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(kw_only=True)
class Fault:
    """One planted fault.

    *kind*: ``http`` refuses a request before it has an effect; ``lost`` does what was asked and closes the
    connection without an answer; ``operation`` lets the operation that a request begins fail at its end;
    ``undone`` makes one ``wait`` come back at once.
    """

    kind: str
    #: discovery id, such as ``compute.disks.insert``; None: any
    method: str | None = None
    #: the resource's name; None: any
    name: str | None = None
    #: so many fitting requests are spared first
    skip: int = 0
    #: how many are hit; 0: all
    count: int = 1
    status: int = 400
    reason: str = "backendError"
    #: of an operation's error
    code: str = "INTERNAL_ERROR"
    message: str = "planted by the test"
    #: how often it has struck
    struck: int = 0

    def strikes(self, method: str, name: str | None) -> bool:
        """Tell whether this request is hit, and count it."""
        if self.method not in (None, method) or self.name not in (None, name):
            return False
        if self.skip > 0:
            self.skip -= 1
            return False
        if self.count and self.struck >= self.count:
            return False
        self.struck += 1
        return True

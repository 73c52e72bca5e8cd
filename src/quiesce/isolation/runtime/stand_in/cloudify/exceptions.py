"""The errors with which operations say whether trying again may help."""

from __future__ import annotations

from typing import Any


class NonRecoverableError(Exception):
    """Trying again cannot help."""

    def __init__(self, *args: object, causes: list[Any] | None = None) -> None:
        super().__init__(*args)
        self.causes = causes or []


class RecoverableError(Exception):
    """Trying again may help, after *retry_after* seconds."""

    def __init__(
        self,
        message: str = "",
        retry_after: float | None = None,
        causes: list[Any] | None = None,
    ) -> None:
        super().__init__(message)
        self.retry_after = retry_after
        self.causes = causes or []


class OperationRetry(RecoverableError):  # noqa: N818  the names below are those that scripts know
    """The operation asks to be run again."""


class HttpException(NonRecoverableError):  # noqa: N818
    """An HTTP request was refused."""

    def __init__(self, url: str, code: int, message: str, causes: list[Any] | None = None) -> None:
        super().__init__(f"{code} ({url}) : {message}", causes=causes)
        self.url = url
        self.code = code
        self.message = message


class CommandExecutionError(RuntimeError):
    """A command could not be started."""

    def __init__(self, command: object, error: object = None) -> None:
        super().__init__(f"{command} could not be started: {error}")
        self.command = command
        self.error = error


class CommandExecutionException(Exception):  # noqa: N818
    """A command ended with an error."""

    def __init__(self, command: object, error: str | None, output: str | None, code: int) -> None:
        super().__init__(f"{command} ended with status {code}; errors: {error}; output: {output}")
        self.command = command
        self.error = error
        self.output = output
        self.code = code


class TimeoutException(Exception):  # noqa: N818
    """Something took too long."""

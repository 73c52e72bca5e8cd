"""Answers that are not what the platform would say: a proxy's page, a field of another type."""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, ParamSpec, TypeVar

from quiesce.errors import NonRecoverableError

P = ParamSpec("P")
T = TypeVar("T")

#: what is raised by values that are not of the shape that an API promises
_OF_ANOTHER_SHAPE: Final = (KeyError, TypeError, AttributeError, ValueError, OverflowError, RecursionError)


@dataclass(frozen=True, slots=True, kw_only=True)
class AnswerReader:
    """Gives the readers of one platform's answers an error of ours for what they cannot make sense of."""

    #: who should have answered: ``OpenStack``
    platform: str
    #: where to look
    hint: str

    def not_understood(self, what: str) -> NonRecoverableError:
        """Return the error for an answer about *what* that no such platform would give."""
        return NonRecoverableError(
            f"what was answered about {what} is not what {self.platform} would say", hint=self.hint
        )

    def understood(self, what: str) -> Callable[[Callable[P, T]], Callable[P, T]]:
        """Return a decorator of functions that read answers about *what*."""

        def wrap(read: Callable[P, T]) -> Callable[P, T]:
            @functools.wraps(read)
            def reading(*args: P.args, **kwargs: P.kwargs) -> T:
                try:
                    return read(*args, **kwargs)
                except _OF_ANOTHER_SHAPE as error:
                    raise self.not_understood(f"{what} ({type(error).__name__}: {error})") from error

            return reading

        return wrap

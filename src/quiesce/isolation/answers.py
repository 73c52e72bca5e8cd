"""Answers a child's requests. They are checked like any input from outside."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any

from quiesce.errors import NonRecoverableError, RecoverableError
from quiesce.isolation.child_result import ChildResult
from quiesce.isolation.output import BoundedLog
from quiesce.model.ids import Json
from quiesce.model.records import Level
from quiesce.ports import Context

_LEVELS = {
    "debug": Level.DEBUG,
    "info": Level.INFO,
    "warning": Level.WARNING,
    "warn": Level.WARNING,
    "error": Level.ERROR,
    "critical": Level.ERROR,
    "exception": Level.ERROR,
}
#: exceptions that ask to be run again, and say nothing else
_AGAIN = frozenset({"RecoverableError", "OperationRetry"})


class ContextAnswers:
    """What one child can ask for, and the result that its requests add up to."""

    def __init__(self, data: dict[str, Any], context: Context) -> None:
        self.result = ChildResult()
        #: what the child prints and logs
        self.said = BoundedLog(context.log)
        self._data = data
        self._context = context
        self._verbs: Mapping[str, Callable[[dict[str, Any]], Json]] = {
            "context": self._context_data,
            "log": self._log,
            "save": self._save,
            "returns": self._returns,
            "abort": self._abort,
            "retry": self._retry,
            "retry_operation": self._retry_operation,
            "raised": self._raised,
        }

    def answer(self, line: bytes) -> bytes:
        """Return the answer to one line, which may be anything at all."""
        try:
            request = json.loads(line)
            value = self._verbs[request.pop("verb")](request)
        except (ValueError, LookupError, TypeError, AttributeError, RecursionError) as error:
            return _line({"error": str(error) or type(error).__name__})
        return _line({"value": value})

    def _context_data(self, _: dict[str, Any]) -> Json:
        return self._data

    def _log(self, request: dict[str, Any]) -> Json:
        self.said.add(_LEVELS.get(request["level"], Level.INFO), str(request["message"]))
        return None

    def _save(self, request: dict[str, Any]) -> Json:
        properties: dict[str, Json] = {
            key: value
            for key, value in self._data["instance"]["runtime_properties"].items()
            if key not in request["removed"]
        } | request["changed"]
        self._context.set_runtime_properties(properties)
        self._data["instance"]["runtime_properties"] = properties
        return properties

    def _returns(self, request: dict[str, Any]) -> Json:
        self.result.say("returns")
        self.result.value = request["value"]
        return None

    def _abort(self, request: dict[str, Any]) -> Json:
        self.result.say("abort")
        message = request["message"] or "the script aborted the operation"
        self.result.raised = NonRecoverableError(message, own=True)
        return None

    def _retry(self, request: dict[str, Any]) -> Json:
        self.result.retry = RecoverableError(
            request["message"] or "the script asked for a retry",
            retry_after_s=_seconds(request["retry_after"]),
        )
        return None

    def _retry_operation(self, request: dict[str, Any]) -> Json:
        self.result.say("retry_operation")
        return self._retry(request)

    def _raised(self, request: dict[str, Any]) -> Json:
        message = f"{request['kind']}: {request['message']}"
        own = request.get("began", True) and request["kind"] not in _AGAIN
        if request["recoverable"]:
            retry_after_s = _seconds(request["retry_after"])
            self.result.raised = RecoverableError(message, retry_after_s=retry_after_s, own=own)
        else:
            self.result.raised = NonRecoverableError(message, own=own)
        return None


def _seconds(value: object) -> float | None:
    return None if value in (None, "") else float(str(value))


def _line(answer: dict[str, Json]) -> bytes:
    return json.dumps(answer).encode() + b"\n"

"""The current operation's `ctx` and parameters."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from cloudify._context import ScriptContext
from quiesce_link import connect


class NotInContext(RuntimeError):  # noqa: N818  the name that scripts know
    """There is no operation that this process works for."""


class CtxParameters(dict[str, Any]):
    """The operation's inputs, as keys and as attributes."""

    def __getattr__(self, name: str) -> Any:
        return self[name]


class CurrentContext:
    """The operation that this process works for; asked for when first needed."""

    def __init__(self) -> None:
        self._context: ScriptContext | None = None
        self._parameters: CtxParameters | None = None

    def get_ctx(self) -> ScriptContext:
        """Return the `ctx`."""
        if self._context is None:
            try:
                self._context = ScriptContext(connect())
            except (OSError, RuntimeError) as error:
                raise NotInContext(f"no operation runs here: {error}") from error
        return self._context

    def get_parameters(self) -> CtxParameters:
        """Return the inputs."""
        if self._parameters is None:
            self._parameters = CtxParameters(self.get_ctx().inputs)
        return self._parameters

    def set(self, ctx: ScriptContext, parameters: dict[str, Any] | None = None) -> None:
        """Use another `ctx`, as tests of scripts do."""
        self._context = ctx
        self._parameters = CtxParameters(parameters or {})

    def clear(self) -> None:
        """Forget what `set` set."""
        self._context = self._parameters = None

    def used(self) -> ScriptContext | None:
        """Return the `ctx` if it was needed so far."""
        return self._context


class _Proxy:
    """Stands for something that is found when first used."""

    __slots__ = ("_find",)

    def __init__(self, find: Any) -> None:
        object.__setattr__(self, "_find", find)

    def _get_current_object(self) -> Any:
        return object.__getattribute__(self, "_find")()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._get_current_object(), name)

    def __setattr__(self, name: str, value: object) -> None:
        setattr(self._get_current_object(), name, value)

    def __getitem__(self, key: str) -> Any:
        return self._get_current_object()[key]

    def __contains__(self, key: object) -> bool:
        return key in self._get_current_object()

    def __iter__(self) -> Iterator[Any]:
        return iter(self._get_current_object())

    def __len__(self) -> int:
        return len(self._get_current_object())

    def __bool__(self) -> bool:
        return bool(self._get_current_object())

    def __repr__(self) -> str:
        return repr(self._get_current_object())


current_ctx = CurrentContext()
ctx: Any = _Proxy(current_ctx.get_ctx)
ctx_parameters: Any = _Proxy(current_ctx.get_parameters)

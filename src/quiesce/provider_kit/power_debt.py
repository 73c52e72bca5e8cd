"""What an APPLY switches off by itself, noted before it does, so that whoever comes next switches it on."""

from __future__ import annotations

from typing import Final

from quiesce.provider_kit.job import RuntimeState

#: runtime property: how far the switching off is
_SWITCHED_OFF: Final = "quiesce_switched_off"
_BEGUN: Final = "begun"
_DONE: Final = "done"


class PowerDebt:
    """Whether the instance's machine was switched off by an APPLY, and has not been switched on since.

    It is durable: it tells the START of another process, too. An APPLY that has left the machine as it is to
    be ends it.
    """

    def __init__(self, state: RuntimeState) -> None:
        self._state = state

    @property
    def is_owed(self) -> bool:
        """Whether the machine has to be switched on."""
        return self._state.read(_SWITCHED_OFF) is not None

    @property
    def is_going_down(self) -> bool:
        """Whether the machine may be on its way down: one that is found running may be off in a moment."""
        return self._state.read(_SWITCHED_OFF) == _BEGUN

    def begin(self) -> None:
        """Note that the machine is going to be switched off."""
        self._write(_BEGUN)

    def switched_off(self) -> None:
        """Note that the machine is off, and is to run."""
        self._write(_DONE)

    def end(self) -> None:
        """Note that the machine is as it is to be."""
        self._write(None)

    def _write(self, state: str | None) -> None:
        if self._state.read(_SWITCHED_OFF) != state:
            self._state.write(**{_SWITCHED_OFF: state})

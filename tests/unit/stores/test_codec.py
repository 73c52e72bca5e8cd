"""Values to JSON and back."""

from __future__ import annotations

from quiesce.model.ids import StepId
from quiesce.model.records import Begun
from quiesce.stores.codec import decode, encode


def test_equal_strings_of_what_was_stored_are_one_in_memory() -> None:
    stored = encode(Begun(at=1.0, tick=1.0, step=StepId("db_a1b2c3.fs_prepare")))
    assert decode(Begun, stored).step is decode(Begun, stored).step

"""A question that is asked once waits for nobody: not for company, and not after another one's error."""

from __future__ import annotations

import threading
from collections.abc import Mapping

import pytest

from quiesce.errors import ProviderError, RecoverableError
from quiesce.provider_kit.deadline import Deadline
from quiesce.provider_kit.listing import AT_ONCE, SharedRequest
from quiesce.testing import RecordingContext


def test_who_comes_while_a_request_fails_is_asked_for_without_a_pause() -> None:
    """The second asker's time is shorter than the pause after an error that is waited out."""
    asked: list[frozenset[str]] = []
    under_way, second_waits = threading.Event(), threading.Event()

    def fetch(keys: frozenset[str]) -> Mapping[str, int | ProviderError]:
        asked.append(keys)
        if len(asked) == 1:
            under_way.set()
            second_waits.wait(5)
            raise RecoverableError("busy")
        return dict.fromkeys(keys, 1)

    shared: SharedRequest[str, int] = SharedRequest(fetch, AT_ONCE)
    first: list[ProviderError] = []

    def ask_first() -> None:
        with pytest.raises(RecoverableError) as caught:
            shared.now("first", Deadline(RecordingContext()))
        first.append(caught.value)

    thread = threading.Thread(target=ask_first)
    thread.start()
    under_way.wait(5)
    with shared.ahead("second", Deadline(RecordingContext(timeout_s=0.8))) as answer:
        second_waits.set()
        assert answer() == 1
    thread.join()
    assert first
    assert asked == [frozenset({"first"}), frozenset({"second"})]

"""One request for everybody who asks, and never an answer that is older than the question."""

from __future__ import annotations

import gc
import threading
import time
from collections.abc import Callable, Mapping

import pytest

from quiesce.errors import NonRecoverableError, OperationTimeoutError, ProviderError, RecoverableError
from quiesce.provider_kit.deadline import Deadline
from quiesce.provider_kit.listing import AT_ONCE, Pace, SharedRequest, SharedRequests
from quiesce.testing.contexts import RecordingContext

QUICK = Pace(gather_s=0.02, least_s=0.01, most_s=0.05)


def soon(timeout_s: float = 20.0) -> Deadline:
    return Deadline(RecordingContext(timeout_s=timeout_s), "the list")


class Platform:
    """Counts requests and answers each key with the number of the request."""

    def __init__(self) -> None:
        self.requests: list[frozenset[str]] = []
        self.before: Callable[[], None] = lambda: None

    def fetch(self, keys: frozenset[str]) -> Mapping[str, int | ProviderError]:
        self.requests.append(keys)
        number = len(self.requests)
        self.before()
        return dict.fromkeys(keys, number)


def side_by_side(number: int, action: Callable[[int], object]) -> list[object]:
    answers: list[object] = [None] * number

    def run(index: int) -> None:
        answers[index] = action(index)

    threads = [threading.Thread(target=run, args=(index,)) for index in range(number)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return answers


def test_many_who_ask_together_are_answered_by_few_requests() -> None:
    platform = Platform()
    shared = SharedRequest(platform.fetch, QUICK)
    answers = side_by_side(50, lambda index: shared.now(f"disk-{index % 5}", soon()))
    assert None not in answers
    assert len(platform.requests) < 10


def test_nobody_is_answered_from_a_request_that_began_before_he_asked() -> None:
    platform = Platform()
    shared = SharedRequest(platform.fetch, AT_ONCE)
    begun, go_on = threading.Event(), threading.Event()

    def hold() -> None:
        if len(platform.requests) == 1:
            begun.set()
            go_on.wait(10)

    platform.before = hold
    first: list[int] = []
    early = threading.Thread(target=lambda: first.append(shared.now("disk", soon())))
    early.start()
    assert begun.wait(10)
    late: list[int] = []
    asking = threading.Thread(target=lambda: late.append(shared.now("disk", soon())))
    asking.start()
    while len(shared._askers) < 2:
        time.sleep(0.001)
    go_on.set()
    early.join()
    asking.join()
    assert first[0] >= 1
    assert late == [2]


def test_it_asks_again_until_the_judge_is_content() -> None:
    platform = Platform()
    found = SharedRequest(platform.fetch, QUICK).until(
        "disk", lambda number: number if number >= 3 else None, soon()
    )
    assert found == 3


def test_an_error_that_may_pass_is_waited_out() -> None:
    platform = Platform()

    def fail_first() -> None:
        if len(platform.requests) == 1:
            raise RecoverableError("busy", retry_after_s=0.01)

    platform.before = fail_first
    assert SharedRequest(platform.fetch, QUICK).now("disk", soon()) == 2


@pytest.mark.parametrize("pace", [QUICK, AT_ONCE])
def test_an_error_that_cannot_pass_reaches_everybody(pace: Pace) -> None:
    platform = Platform()

    def fail() -> None:
        raise NonRecoverableError("no such project")

    platform.before = fail
    shared = SharedRequest(platform.fetch, pace)

    def ask(_: int) -> object:
        with pytest.raises(NonRecoverableError, match="no such project"):
            shared.now("disk", soon())
        return True

    assert side_by_side(3, ask) == [True] * 3


def test_who_is_asked_at_once_hears_of_every_error() -> None:
    platform = Platform()

    def fail() -> None:
        raise RecoverableError("busy")

    platform.before = fail
    with pytest.raises(RecoverableError):
        SharedRequest(platform.fetch, AT_ONCE).now("disk", soon())


def test_one_keys_error_is_its_own() -> None:
    def fetch(keys: frozenset[str]) -> Mapping[str, int | ProviderError]:
        return {key: NonRecoverableError("gone") if key == "bad" else 1 for key in keys}

    shared = SharedRequest(fetch, AT_ONCE)
    assert shared.now("good", soon()) == 1
    with pytest.raises(NonRecoverableError):
        shared.now("bad", soon())


def test_a_bug_in_reading_an_answer_reaches_those_who_wait() -> None:
    platform = Platform()

    def fail() -> None:
        raise KeyError("status")

    platform.before = fail
    with pytest.raises(ProviderError, match="an answer was not understood: KeyError"):
        SharedRequest(platform.fetch, QUICK).now("disk", soon())


def test_waiting_ends_with_the_operations_time() -> None:
    shared = SharedRequest(Platform().fetch, QUICK)
    with pytest.raises(OperationTimeoutError, match="the list"):
        shared.until("disk", lambda _: None, soon(0.05))


def test_a_wait_in_vain_says_what_the_platform_answered_last() -> None:
    platform = Platform()

    def fail() -> None:
        raise RecoverableError("the service is down")

    platform.before = fail
    with pytest.raises(OperationTimeoutError, match=r"the list.*the service is down"):
        SharedRequest(platform.fetch, QUICK).now("disk", soon(0.5))


def test_it_is_asked_ahead_while_other_things_are_done() -> None:
    platform = Platform()
    answered = threading.Event()
    platform.before = answered.set
    with SharedRequest(platform.fetch, QUICK).ahead("disk", soon()) as answer:
        assert answered.wait(10)
        assert answer() == 1


def test_nobody_waiting_means_nothing_is_asked_and_nothing_kept() -> None:
    platform = Platform()
    shared = SharedRequest(platform.fetch, QUICK)
    shared.now("disk", soon())
    while shared._running:
        time.sleep(0.001)
    before = len(platform.requests)
    time.sleep(0.1)
    assert len(platform.requests) == before
    assert not shared._answers


def test_a_platform_is_asked_less_the_longer_it_takes_and_more_while_something_is_frozen() -> None:
    pace = Pace(least_s=0.25, most_s=5.0, share=0.2, urgent_share=0.05, rest=3.0)
    assert pace.pause_s(0.0, 0.0) == 0.25
    assert pace.pause_s(10.0, 0.0) == 2.0
    assert pace.pause_s(10.0, 0.0, urgent=True) == 0.5
    assert pace.pause_s(1000.0, 0.0) == 5.0
    assert pace.pause_s(0.0, 2.0) == 4.0


def test_a_list_that_hangs_delays_no_other() -> None:
    """Each key has a request of its own; the same key shares one."""
    hanging, go_on = threading.Event(), threading.Event()
    asked: list[str] = []

    def fetch(key: str) -> str:
        asked.append(key)
        if key == "slow":
            hanging.set()
            go_on.wait(10)
        return f"{key} {len(asked)}"

    shared = SharedRequests(fetch, AT_ONCE)
    waiting = threading.Thread(target=lambda: shared.now("slow", soon()))
    waiting.start()
    assert hanging.wait(10)
    assert shared.now("quick", soon()) == "quick 2"
    assert shared.until("quick", lambda answer: answer, soon(), urgent=True) == "quick 3"
    go_on.set()
    waiting.join()
    assert asked == ["slow", "quick", "quick"]


def test_lists_that_nobody_wants_any_more_are_forgotten() -> None:
    shared = SharedRequests(str.upper, AT_ONCE)
    for number in range(50):
        shared.now(f"point-{number}", soon())
    ends = time.monotonic() + 10
    while len(shared._used) and time.monotonic() < ends:
        gc.collect()
        time.sleep(0.01)
    assert len(shared._used) == 0

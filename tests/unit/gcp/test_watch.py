"""Concurrent questions share one answer that is fresh for each of them."""

from __future__ import annotations

import threading

import pytest

from quiesce.errors import OperationTimeoutError, RecoverableError
from quiesce.providers.gcp.patience import Patience
from quiesce.providers.gcp.watch import Watch
from quiesce.testing import RecordingContext


def patience(timeout_s: float = 30.0) -> Patience:
    return Patience(RecordingContext(timeout_s=timeout_s), sleep=lambda _: None)


def test_questions_asked_meanwhile_share_the_next_answer() -> None:
    watch: Watch[int] = Watch()
    fetched: list[int] = []
    first_is_fetching, go_on = threading.Event(), threading.Event()

    def fetch() -> int:
        fetched.append(len(fetched))
        if len(fetched) == 1:
            first_is_fetching.set()
            go_on.wait(20)
        return len(fetched)

    answers: list[int] = []
    ask = lambda: answers.append(watch.look(("group",), fetch, patience()))  # noqa: E731
    threads = [threading.Thread(target=ask) for _ in range(9)]
    threads[0].start()
    first_is_fetching.wait(20)
    for thread in threads[1:]:
        thread.start()
    go_on.set()
    for thread in threads:
        thread.join(20)
    assert len(answers) == 9
    assert len(fetched) <= 4
    assert min(answers) == 1


def test_an_answer_is_never_older_than_its_question() -> None:
    watch: Watch[int] = Watch()
    counter = iter(range(10))
    assert [watch.look(("g",), lambda: next(counter), patience()) for _ in range(3)] == [0, 1, 2]


def test_an_error_goes_to_whoever_asked_and_the_next_one_asks_anew() -> None:
    watch: Watch[str] = Watch()

    def fail() -> str:
        raise RecoverableError("away")

    with pytest.raises(RecoverableError):
        watch.look(("g",), fail, patience())
    assert watch.look(("g",), lambda: "back", patience()) == "back"


def test_nobody_asks_beyond_the_time_that_is_left() -> None:
    with pytest.raises(OperationTimeoutError):
        Watch[str]().look(("g",), lambda: "late", patience(timeout_s=0.0))
    context = RecordingContext(timeout_s=10.0)
    context.give_up()
    with pytest.raises(OperationTimeoutError):
        Patience(context, sleep=lambda _: None).pause(1.0)

"""Connections: made once, made again when they broke, and in nobody else's way."""

from __future__ import annotations

import threading

from quiesce.provider_kit.connections import Connections


class Line:
    """A connection that can break."""

    def __init__(self, key: str) -> None:
        self.key = key
        self.alive = True
        self.closed = False

    def close(self) -> None:
        self.closed = True


def connections() -> Connections[str, Line]:
    return Connections(Line, is_alive=lambda line: line.alive)


def test_who_wants_the_same_shares_one() -> None:
    given = connections()
    assert given.get("a") is given.get("a")
    assert given.get("b") is not given.get("a")


def test_one_that_broke_is_closed_and_made_again() -> None:
    given = connections()
    broken = given.get("a")
    broken.alive = False
    made = given.get("a")
    assert made is not broken
    assert broken.closed
    assert given.get("a") is made


def test_a_slow_connection_keeps_nobody_waiting_who_wants_another() -> None:
    connecting, go_on = threading.Event(), threading.Event()

    def connect(key: str) -> Line:
        if key == "slow":
            connecting.set()
            go_on.wait(10.0)
        return Line(key)

    given: Connections[str, Line] = Connections(connect)
    slow = threading.Thread(target=given.get, args=("slow",))
    slow.start()
    assert connecting.wait(10.0)
    assert given.get("quick").key == "quick"
    go_on.set()
    slow.join()


def test_closing_closes_all_and_the_next_are_new() -> None:
    given = connections()
    lines = [given.get(key) for key in "ab"]
    given.close()
    assert all(line.closed for line in lines)
    assert given.get("a") is not lines[0]

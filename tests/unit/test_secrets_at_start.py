"""What goes wrong while the services are put together repeats no secret either."""

from __future__ import annotations

import os
from collections.abc import Callable

import pytest

from quiesce.cli import guard, session

PASSWORD = "vermilion-quokka-0452"


def open_services() -> None:
    with session.services():
        pass


@pytest.mark.parametrize("start", [open_services, guard.main], ids=["a command", "a guard"])
def test_a_database_that_cannot_be_opened_does_not_show_its_password(
    start: Callable[[], None], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("QUIESCE_DATABASE", f"postgresql://us:{PASSWORD}@nowhere/q")

    def fail(url: str) -> None:
        raise RuntimeError(f"cannot open {url}")

    monkeypatch.setattr("quiesce.bootstrap.Database", fail)
    monkeypatch.setattr(guard, "become_guard", lambda: None)
    reading, writing = os.pipe()
    with os.fdopen(reading) as orders, os.fdopen(writing):
        monkeypatch.setattr("sys.stdin", orders)
        with pytest.raises(SystemExit):
            start()
    shown = capsys.readouterr()
    assert "cannot open" in shown.err
    assert PASSWORD not in shown.err + shown.out

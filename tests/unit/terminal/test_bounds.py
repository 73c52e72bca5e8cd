"""What devices and files feed is bounded: part of long answers, small templates."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from quiesce.errors import NonRecoverableError, UntrustedPathError
from quiesce.providers.terminal import heard
from quiesce.providers.terminal.calls import _file

from .test_reading import a_call


@given(st.lists(st.text(max_size=20)), st.integers(0, 5))
def test_all_of_a_short_answer_is_kept(parts: list[str], end: int) -> None:
    found = heard.Heard()
    for part in parts:
        found.add(part)
    assert found.last == "".join(parts)
    assert found.before(end) == "".join(parts)[:end]


def test_of_an_endless_answer_the_first_and_the_last_part_are_kept() -> None:
    """The number left out is right, and questions are found at its end."""
    found = heard.Heard()
    total = 0
    for number in range(400):
        text = f"{number:06}" * 2000
        found.add(text)
        total += len(text)
        assert len(found.last) <= 2 * heard.KEPT_CHARS
    found.add("sure?")
    assert found.asked("sure?")
    assert not found.asked("sure?")
    kept = found.before(len(found.last) - 5)
    assert kept.startswith("000000000000")
    assert kept.endswith("000399")
    marker = kept[heard.KEPT_CHARS :].split("...")[1]
    assert int(marker.split()[0]) + len(kept) - len(f"\n...{marker}...\n") == total


def test_templates_are_small_regular_files(tmp_path: Path) -> None:
    call = replace(a_call({"user": "a", "ip": "h"}), blueprint_dir=str(tmp_path))
    (tmp_path / "large.txt").write_bytes(bytes(2 << 20))
    os.mkfifo(tmp_path / "pipe.txt")
    (tmp_path / "binary.txt").write_bytes(b"\xff\xfe")
    (tmp_path / "good.txt").write_text("show {{ this }}")
    for name, why in (
        ("large", "larger than"),
        ("pipe", "not a regular"),
        ("binary", "not text"),
        ("no", "no templ"),
    ):
        with pytest.raises(NonRecoverableError, match=why):
            _file(call, f"{name}.txt")
    assert _file(call, "good.txt") == "show {{ this }}"


def test_a_template_that_others_can_change_is_not_typed(tmp_path: Path) -> None:
    """Whoever could write it would choose what root says to a device."""
    (tmp_path / "small").write_text("show version")
    (tmp_path / "small").chmod(0o666)
    with pytest.raises(UntrustedPathError, match="can be written by others"):
        _file(replace(a_call({"user": "a", "ip": "h"}), blueprint_dir=str(tmp_path)), "small")

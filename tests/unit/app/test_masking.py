"""A secret that was resolved is in nothing that operations say, however it is written there."""

from __future__ import annotations

import base64
import html
import json
import time
from urllib.parse import quote, quote_plus

import pytest
from hypothesis import given
from hypothesis import strategies as st

from quiesce.app.masking import MASK, Masking, masked_error, masked_outcome
from quiesce.errors import NonRecoverableError
from quiesce.model.outcome import Outcome

SECRET = 'h&nter"22/w=\\rd é'


def masking(*secrets: str) -> Masking:
    made = Masking()
    for secret in secrets:
        made.add(secret)
    return made


@pytest.mark.parametrize(
    "written",
    [
        SECRET,
        json.dumps(SECRET),
        json.dumps(SECRET, ensure_ascii=False),
        json.dumps(json.dumps({"password": SECRET})),
        repr({"password": SECRET}),
        quote(SECRET),
        quote(SECRET, safe="").lower(),
        f"postgresql://root:{quote_plus(SECRET)}@db/x",
        html.escape(SECRET),
        "Basic " + base64.b64encode(f"user:{SECRET}".encode()).decode(),
        "Basic " + base64.b64encode(f"us:{SECRET}".encode()).decode(),
        base64.urlsafe_b64encode(f"u:{SECRET}:more".encode()).decode(),
        "\r\n".join(SECRET),
        " \r\x1b[K".join(SECRET),
        SECRET[:7] + "\n    " + SECRET[7:],
        SECRET[:7] + "\\r\\n" + SECRET[7:],
        base64.b64encode(SECRET.encode()).decode()[:9]
        + "\n"
        + base64.b64encode(SECRET.encode()).decode()[9:],
    ],
)
def test_it_is_masked_however_it_is_written(written: str) -> None:
    """As JSON, URL, HTML, Python and base64 write it, and wrapped by a terminal."""
    shown = masking(SECRET).text(f"before {written} after")
    assert MASK in shown
    assert shown.startswith("before ")
    assert shown.endswith(" after")
    joined = shown.replace("\r", "").replace("\n", "").replace(" ", "")
    for form in (SECRET[:9], SECRET[7:], quote(SECRET)[4:12], json.dumps(SECRET)[4:12]):
        assert form.replace(" ", "") not in joined


@given(at=st.integers(1, 14), width=st.integers(4, 40))
def test_lines_of_a_wrapping_device_show_no_half_of_it(at: int, width: int) -> None:
    """Each line is logged by itself, so pieces at the ends of lines are masked."""
    secret = "correcthorsebatt"
    mask = masking(secret)
    lines = [mask.text("<out> password: " + secret[:at]), mask.text("<out> " + secret[at:] + " accepted")]
    for line, piece in zip(lines, (secret[:at], secret[at:]), strict=True):
        assert len(piece) < 4 or piece not in line
    wrapped = [mask.text(secret[n : n + width]) for n in range(0, len(secret), width)]
    assert secret not in "".join(wrapped)


def test_each_line_of_a_key_is_masked() -> None:
    """Private keys have many lines, and logs take them apart."""
    key = "-----BEGIN KEY-----\nMIIEvQIBADANBgkq\nhkiG9w0BAQEFAASC\n-----END KEY-----"
    mask = masking(key)
    assert "hkiG9w0BAQEFAASC" not in mask.text("line: hkiG9w0BAQEFAASC.")
    assert mask.text(f"all: {key}!") == f"all: {MASK}!"


def test_short_words_and_other_text_stay() -> None:
    """To mask what is no secret would make messages unreadable."""
    mask = masking("no", "hunter22")
    assert mask.text("no space left on /srv/data") == "no space left on /srv/data"


def test_notes_results_and_measurements_are_masked() -> None:
    """Deeply, keys too."""
    outcome = Outcome(note="is hunter22", result={"hunter22": [{"x": "a hunter22 b"}]}, artifact={"id": "1"})
    masked = masked_outcome(masking("hunter22"), outcome)
    assert "hunter22" not in str(masked)
    assert masked.artifact == {"id": "1"}


def test_errors_are_masked_with_their_causes() -> None:
    """An error keeps its kind; a bug becomes an error without the secret."""
    error = NonRecoverableError("login with hunter22 failed", hint="not hunter22")
    error.__cause__ = ValueError("hunter22")
    masked = masked_error(masking("hunter22"), error)
    assert masked is error
    assert "hunter22" not in f"{masked} {error.hint} {masked.__cause__}"
    assert "hunter22" not in str(masked_error(masking("hunter22"), KeyError("hunter22")))
    other = KeyError("other")
    assert masked_error(masking("hunter22"), other) is other


@pytest.mark.timeout(60)
def test_nothing_that_a_device_sends_makes_it_slow() -> None:
    """Breaks are bounded, so hostile output costs little more than any other."""
    mask = masking("a" * 32 + "b", "hunter22")
    before = time.process_time()
    for hostile in ("a\r\n" * 3000, "a" * 9000, "a \t\r\n \t" * 1500, "\x1b[0;" * 3000):
        mask.text(hostile)
    assert time.process_time() - before < 20


def test_of_a_long_text_both_ends_are_kept_and_masked() -> None:
    """A device that never stops fills no database, and a secret at the cut is no exception."""
    text = "begin " + "x" * 1_000_000 + " hunter22"
    shown = masking("hunter22").text(text)
    assert shown.startswith("begin ")
    assert shown.endswith(f" {MASK}")
    assert "characters left out" in shown
    assert len(shown) < 65536


def test_of_a_secret_in_json_what_is_secret_there_is_masked_too() -> None:
    """The key of a service account is one, its project is none."""
    masking = Masking()
    masking.add(json.dumps({"project_id": "project-one", "private_key": "-----BEGIN-----\nQUJDREVGR0g=\n"}))
    assert masking.text("QUJDREVGR0g= of project-one was refused") == f"{MASK} of project-one was refused"

"""No parser of foreign data breaks: a short run of each; ``make fuzz`` has the large one."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from tests.fuzz.parsers import PARSERS

ROOT = Path(__file__).parents[2]
SIZE = ("--inputs", "300", "--seconds", os.environ.get("QUIESCE_FUZZ_S", "1"))


def test_no_parser_breaks_at_what_is_nearly_right() -> None:
    """No traceback, no hang, bounded memory; what broke one once is in its corpus, and tried first."""
    command = [sys.executable, "-m", "tests.fuzz", *SIZE, "--seed", "1"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-4000:]
    assert done.stdout.count(" 0 broke it") == len(PARSERS)


def test_the_judge_sees_tracebacks_hangs_and_memory() -> None:
    """A parser that does all of it is caught."""
    for parse, seen in (("data[0:0][1]", "IndexError"), ("list(iter(int, 1))", "MemoryError")):
        assert seen in _judged(parse)
    assert "HangError" in _judged("[None for _ in iter(int, 1) if _]")


def _judged(parse: str) -> str:
    code = f"""
import sys, tempfile, pathlib
import tests.fuzz.__main__ as fuzzing
from tests.fuzz.parsers import PARSERS, Parser
fuzzing.HANG_S, fuzzing.CORPUS = 1 if "None for" in {parse!r} else 60, pathlib.Path(tempfile.mkdtemp())
calls = []
def parse(data):
    calls.append(1)
    return None if len(calls) == 1 else {parse}
PARSERS["bad"] = Parser(seeds=(b"x",), parse=parse)
sys.exit(0 if fuzzing.is_robust("bad", 1, 30, 1) else 7)
"""
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 7, done.stderr
    return done.stdout

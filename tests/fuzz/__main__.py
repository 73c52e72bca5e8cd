"""Feed parsers of foreign data with what is nearly right: ``python -m tests.fuzz [NAME...]``.

Each parser runs in a process of its own with 256 MiB more memory than it begins with, and five seconds of the
processor for one input. What breaks it is kept in ``tests/fuzz/corpus/NAME``, and tried first from then on.
"""

from __future__ import annotations

import argparse
import contextlib
import hashlib
import itertools
import os
import random
import resource
import signal
import sys
import time
import traceback
from pathlib import Path
from typing import Final

from quiesce.errors import QuiesceError
from tests.fuzz.mutating import mutated
from tests.fuzz.parsers import PARSERS
from tests.fuzz.parsing import forget_scratch

CORPUS: Final = Path(__file__).parent / "corpus"
#: of the processor's time: a busy machine may take longer
HANG_S: Final = 5
#: for nothing, or for a machine that is very busy
_WAITS_S: Final = 60
MEMORY_BYTES: Final = 256 << 20
_BROKEN: Final = 3
_MOST_FINDINGS: Final = 5


class HangError(BaseException):
    """An input took too long; nothing of ours may catch it."""


def main() -> int:
    """Run the chosen parsers one after the other; return how many broke."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help=", ".join(PARSERS))
    parser.add_argument("--inputs", type=int, default=1_000_000)
    parser.add_argument("--seconds", type=float, default=1200)
    parser.add_argument("--seed", type=int, default=None)
    given = parser.parse_args()
    seed = random.SystemRandom().randrange(1 << 32) if given.seed is None else given.seed
    names = given.names or list(PARSERS)
    return sum(not is_robust(name, given.inputs, given.seconds, seed) for name in names)


def is_robust(name: str, inputs: int, seconds: float, seed: int) -> bool:
    """Run one parser in a process of its own."""
    sys.stdout.flush()
    child = os.fork()
    if child == 0:
        status = 1
        try:
            status = _BROKEN if _fuzz(name, inputs, seconds, seed) else 0
        except BaseException:
            traceback.print_exc()
        finally:
            sys.stdout.flush()
            os._exit(status)
    _, status = os.waitpid(child, 0)
    return status == 0


def _fuzz(name: str, inputs: int, seconds: float, seed: int) -> int:
    """Parse until there were so many inputs, or it took so long; return how many broke it."""
    parser, chance = PARSERS[name], random.Random(seed)
    signal.signal(signal.SIGPROF, _hang)
    signal.signal(signal.SIGALRM, _hang)
    with contextlib.suppress(QuiesceError):
        parser.parse(parser.seeds[0])
    _bound_memory()
    before = _most_memory()
    end, done, broken, slowest = time.monotonic() + seconds, 0, 0, 0.0
    known = [*parser.seeds, *(path.read_bytes() for path in sorted((CORPUS / name).glob("*")))]
    for data in itertools.chain(known, (mutated(parser.seeds, chance) for _ in itertools.count())):
        began = time.process_time()
        enough = done >= max(inputs, len(known)) or (time.monotonic() > end and done >= len(known))
        if enough or broken >= _MOST_FINDINGS:
            break
        if why := _why_broken(name, data):
            broken += 1
            print(f"{name}: {_kept(name, data)}\n{why}", flush=True)
        slowest = max(slowest, time.process_time() - began)
        done += 1
    took, grown = time.monotonic() - end + seconds, (_most_memory() - before) / (1 << 20)
    print(f"{name}: {done} inputs in {took:.0f} s, {broken} broke it, seed {seed}", flush=True)
    print(f"{name}: slowest {slowest:.3f} s, {grown:.0f} MiB more memory at most", flush=True)
    forget_scratch()
    return broken


def _why_broken(name: str, data: bytes) -> str:
    signal.setitimer(signal.ITIMER_PROF, HANG_S)
    signal.setitimer(signal.ITIMER_REAL, _WAITS_S)
    try:
        PARSERS[name].parse(data)
    except QuiesceError:
        pass
    except (Exception, HangError):
        return traceback.format_exc(limit=-6)
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
        signal.setitimer(signal.ITIMER_REAL, 0)
    return ""


def _kept(name: str, data: bytes) -> Path:
    path = CORPUS / name / hashlib.sha256(data).hexdigest()[:16]
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
    return path


def _hang(*_: object) -> None:
    raise HangError


def _most_memory() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def _bound_memory() -> None:
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    limit = pages * resource.getpagesize() + MEMORY_BYTES
    resource.setrlimit(resource.RLIMIT_AS, (limit, limit))


if __name__ == "__main__":
    sys.exit(main())

"""Packs of 16 MiB put and got, and many objects listed, on each storage, beside what one would use without us.

The baseline of each is measured in the same run, in turn: plain writing, syncing and reading of files, and
find, for a directory; OpenSSH's own sftp for SFTP; boto3 for S3 (Ceph's gateway, which keeps all in memory).
Wall-clock and CPU time of our side only; both as ratios to the baseline, below 1 is better.

    python bench/storage.py [--packs 16] [--objects 100000] [--rounds 3] [--only directory sftp s3]
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from tests.labs.storage.servers import S3, SftpPlace, radosgw
from tests.sshd_on_loopback import sshd

from quiesce.model.stored_object import ObjectName, object_name
from quiesce.ports import Storage
from quiesce.storage import DirectoryStorage

PACK = os.urandom(16 << 20)


@dataclass
class Contest:
    """One storage and its baseline: each a way to put, get and list the same."""

    name: str
    storage: Storage
    put: Callable[[int], None]
    get: Callable[[int], None]
    listed: Callable[[], int]
    fill: Callable[[int], None]
    baseline: str


def directory(stack: ExitStack, scratch: Path) -> Contest:
    plain, ours = scratch / "plain", scratch / "ours"
    plain.mkdir()
    storage = stack.enter_context(closing(DirectoryStorage(ours)))
    storage.prepare()

    def put(number: int) -> None:
        with (plain / f"pack{number}").open("wb", buffering=0) as file:
            file.write(PACK)
            os.fsync(file.fileno())

    def get(number: int) -> None:
        assert len((plain / f"pack{number}").read_bytes()) == len(PACK)

    return Contest(
        "directory", storage, put, get, lambda: found_by_find(ours), filler(ours), "write, fsync, read; find"
    )


def sftp(stack: ExitStack, scratch: Path) -> Contest:
    (scratch / "sshd").mkdir()
    (scratch / "plain").mkdir()
    server = stack.enter_context(sshd(scratch / "sshd", "Subsystem sftp internal-sftp"))
    place = SftpPlace(server, scratch / "ours")
    storage = stack.enter_context(closing(place.storage()))
    storage.prepare()
    (scratch / "pack").write_bytes(PACK)
    key = scratch / "sshd" / "user"
    options = [
        "-q",
        "-b",
        "-",
        "-i",
        str(key),
        "-P",
        str(server.port),
        "-o",
        f"UserKnownHostsFile={server.known_hosts}",
    ]

    def batch(command: str) -> str:
        done = subprocess.run(
            ["sftp", *options, f"{server.user}@127.0.0.1"],
            input=command,
            text=True,
            check=True,
            capture_output=True,
        )
        return done.stdout

    def listed() -> int:
        folders = list((scratch / "ours" / "list").iterdir())
        return batch("".join(f"ls -l {folder}\n" for folder in folders)).count("\n") - len(folders)

    return Contest(
        "sftp",
        storage,
        lambda number: batch(f"put {scratch}/pack {scratch}/plain/pack{number}\n") and None,
        lambda number: batch(f"get {scratch}/plain/pack{number} {scratch}/got\n") and None,
        listed,
        filler(scratch / "ours"),
        "OpenSSH's sftp, a connection each",
    )


def s3(stack: ExitStack, scratch: Path) -> Contest:
    gateway: S3 = stack.enter_context(radosgw(scratch / "ceph"))
    bucket = gateway.make_bucket()
    client: Any = gateway.client()
    storage = gateway.open(bucket)

    def listed() -> int:
        pages = client.get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix="deep/place/list/")
        return sum(len(page["Contents"]) for page in pages)

    def fill(count: int) -> None:
        with ThreadPoolExecutor(16) as pool:
            for _ in pool.map(lambda number: storage.put(named(number), b"x"), range(count)):
                pass

    return Contest(
        "s3",
        storage,
        lambda number: client.put_object(Bucket=bucket, Key=f"plain/pack{number}", Body=PACK),
        lambda number: client.get_object(Bucket=bucket, Key=f"plain/pack{number}")["Body"].read() and None,
        listed,
        fill,
        "boto3",
    )


def named(number: int) -> ObjectName:
    return object_name(f"list/{number % 256:02x}/{number:08}")


def filler(root: Path) -> Callable[[int], None]:
    def fill(count: int) -> None:
        for folder in range(min(count, 256)):
            (root / "list" / f"{folder:02x}").mkdir(parents=True, mode=0o700)
        for number in range(count):
            (root / named(number)).write_bytes(b"x")

    return fill


def found_by_find(root: Path) -> int:
    done = subprocess.run(
        ["find", str(root / "list"), "-type", "f", "-printf", "%P %s %T@\n"], capture_output=True, check=True
    )
    return done.stdout.count(b"\n")


def pack(number: int) -> ObjectName:
    return object_name(f"packs/pack{number}")


def measured(action: Callable[[int], object], numbers: range) -> tuple[float, float]:
    """Return wall-clock and CPU seconds, children's included."""
    before, start = os.times(), time.monotonic()
    for number in numbers:
        action(number)
    after, end = os.times(), time.monotonic()
    return end - start, sum(after[:4]) - sum(before[:4])


def run(contest: Contest, packs: int, objects: int, rounds: int) -> Iterator[str]:
    contest.fill(objects)
    pairs = {
        "put": (lambda number: contest.storage.put(pack(number), PACK), contest.put),
        "get": (lambda number: contest.storage.get(pack(number)), contest.get),
        "list": (lambda _: counted(contest, objects), lambda _: require(contest.listed() == objects)),
    }
    for what, (ours, baseline) in pairs.items():
        each = packs if what != "list" else 1
        rows = [range(turn * each, (turn + 1) * each) for turn in range(rounds)]
        figures = [(*measured(ours, row), *measured(baseline, row)) for row in rows]
        wall, cpu, base_wall, base_cpu = (statistics.median(column) for column in zip(*figures, strict=True))
        amount = f"{packs * 16 / wall:7.0f} MiB/s" if what != "list" else f"{objects / wall:7.0f} /s   "
        yield (
            f"{contest.name:10} {what:5} {wall:8.2f} s {amount}   wall {wall / base_wall:5.2f} x   "
            f"CPU {cpu:6.2f} s {cpu / max(base_cpu, 0.001):5.2f} x   ({contest.baseline})"
        )


def counted(contest: Contest, objects: int) -> None:
    require(sum(1 for _ in contest.storage.list("list")) == objects)


def require(condition: bool) -> None:
    if not condition:
        raise SystemExit("not everything was listed: these figures mean nothing")


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--packs", type=int, default=16)
    parser.add_argument("--objects", type=int, default=100_000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--only", nargs="+", default=["directory", "sftp", "s3"])
    options = parser.parse_args()
    contests = {"directory": directory, "sftp": sftp, "s3": s3}
    print(
        f"{options.packs} packs of 16 MiB, {options.objects} objects, median of {options.rounds} rounds, {os.cpu_count()} cores"
    )
    for name in options.only:
        with ExitStack() as stack:
            scratch = Path(
                stack.enter_context(tempfile.TemporaryDirectory(prefix="quiesce-bench-", dir="/var/tmp"))
            )
            for line in run(contests[name](stack, scratch), options.packs, options.objects, options.rounds):
                print(line, flush=True)


main()

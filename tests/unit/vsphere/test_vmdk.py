"""Stream-optimised VMDK: what is written is read again, by us and by QEMU; damage is told."""

from __future__ import annotations

import io
import shutil
import subprocess
import zlib
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from quiesce.errors import DamagedArtifactError
from quiesce.providers.vsphere.vmdk import GRAIN, Grain, VmdkReader, VmdkWriter, grains_of, merge, write_disk

NUMBERS = st.integers(min_value=0, max_value=2000)
CONTENT = st.dictionaries(NUMBERS, st.binary(min_size=1, max_size=40), max_size=8)
CAPACITY = 2001 * GRAIN


def _stream(content: Mapping[int, bytes], capacity: int = CAPACITY) -> bytes:
    out = io.BytesIO()
    write_disk(out, capacity, (Grain.of(number, content[number]) for number in sorted(content)))
    return out.getvalue()


def _pieces(data: bytes, size: int = 1000) -> Iterator[bytes]:
    return (data[at : at + size] for at in range(0, len(data), size))


def _content(data: bytes) -> dict[int, bytes]:
    return {grain.number: grain.plain().rstrip(b"\0") for grain in VmdkReader(_pieces(data)).grains()}


@given(CONTENT)
def test_what_is_written_is_read_again(content: Mapping[int, bytes]) -> None:
    assert _content(_stream(content)) == {number: text.rstrip(b"\0") for number, text in content.items()}


@given(CONTENT, CONTENT)
def test_changed_grains_replace_older_ones(base: Mapping[int, bytes], changed: Mapping[int, bytes]) -> None:
    older = (Grain.of(number, base[number]) for number in sorted(base))
    newer = (Grain.of(number, changed[number]) for number in sorted(changed))
    merged = {grain.number: grain.plain() for grain in merge(older, newer)}
    assert merged == {
        number: text.ljust(GRAIN, b"\0") for number, text in {**dict(base), **dict(changed)}.items()
    }
    assert list(merged) == sorted(merged)


@given(st.integers(min_value=1, max_value=2500))
def test_a_stream_that_ends_early_is_damaged(missing: int) -> None:
    data = _stream({0: b"one", 700: b"two"})
    with pytest.raises(DamagedArtifactError):
        _content(data[:-missing])


def test_something_else_is_no_disk() -> None:
    with pytest.raises(DamagedArtifactError):
        VmdkReader(iter([b"x" * 1024]))


def test_grains_come_in_order() -> None:
    writer = VmdkWriter(io.BytesIO(), CAPACITY)
    writer.add(Grain.of(5, b"five"))
    with pytest.raises(DamagedArtifactError):
        writer.add(Grain.of(4, b"four"))


def test_a_grain_beyond_the_end_is_refused() -> None:
    with pytest.raises(DamagedArtifactError):
        VmdkWriter(io.BytesIO(), GRAIN).add(Grain.of(1, b"beyond"))


def test_a_piece_of_disk_falls_into_grains() -> None:
    found = list(grains_of(3 * GRAIN, b"a" * GRAIN + b"b"))
    assert [grain.number for grain in found] == [3, 4]
    assert found[1].plain() == b"b".ljust(GRAIN, b"\0")


def test_a_grain_that_does_not_decompress_is_damaged() -> None:
    with pytest.raises(DamagedArtifactError):
        Grain(0, b"not compressed").plain()


@pytest.mark.skipif(shutil.which("qemu-img") is None, reason="qemu-img is missing (Debian: qemu-utils)")
class TestWithQemu:
    """QEMU was written by others from the same specification."""

    def test_qemu_reads_what_we_write(self, tmp_path: Path) -> None:
        (tmp_path / "ours.vmdk").write_bytes(_stream({0: b"first", 3: b"middle", 1500: b"far"}))
        plain = _converted(tmp_path, "ours.vmdk", "vmdk", "raw")
        assert plain.stat().st_size == CAPACITY
        with plain.open("rb") as file:
            for number, text in ((0, b"first"), (3, b"middle"), (1500, b"far"), (1, b"")):
                file.seek(number * GRAIN)
                assert file.read(GRAIN) == text.ljust(GRAIN, b"\0")

    def test_we_read_what_qemu_writes(self, tmp_path: Path) -> None:
        with (tmp_path / "disk.raw").open("wb") as file:
            file.truncate(CAPACITY)
            file.seek(7 * GRAIN)
            file.write(b"seven")
            file.seek(1999 * GRAIN)
            file.write(b"last but one")
        theirs = _converted(tmp_path, "disk.raw", "raw", "vmdk", "-o", "subformat=streamOptimized")
        assert _content(theirs.read_bytes()) == {7: b"seven", 1999: b"last but one"}


def _converted(directory: Path, name: str, given_format: str, wanted: str, *options: str) -> Path:
    out = directory / f"converted.{wanted}"
    subprocess.run(
        ["qemu-img", "convert", "-f", given_format, "-O", wanted, *options, directory / name, out], check=True
    )
    return out


def test_a_grain_that_would_become_larger_than_one_is_damage() -> None:
    """Of a stream that was made to fill the memory, no more than a grain is ever unpacked."""
    bomb = Grain(0, zlib.compress(bytes(100 << 20)))
    with pytest.raises(DamagedArtifactError, match="not as long as a grain"):
        bomb.plain()

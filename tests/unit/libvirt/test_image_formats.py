"""What a guest writes into its raw disk is data, whatever it looks like. Needs qemu-img."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from quiesce.errors import NonRecoverableError, UnsupportedError
from quiesce.providers.libvirt.disk import qemu_img

pytestmark = pytest.mark.skipif(shutil.which("qemu-img") is None, reason="qemu-img is not installed")


#: names of extensions of qcow2's header: the format below, and one that nobody knows
_BACKING_FORMAT, _UNKNOWN = b"\xe2\x79\x2a\xca", b"\x12\x34\x56\x78"


def _run(*arguments: object) -> None:
    subprocess.run(["qemu-img", *map(str, arguments)], check=True, capture_output=True)


@pytest.fixture
def secret(tmp_path: Path) -> Path:
    """A file of the host."""
    path = tmp_path / "secret"
    path.write_bytes(b"of root" + bytes(1 << 20))
    return path


@pytest.fixture
def raw(tmp_path: Path, secret: Path) -> Path:
    """A raw disk into which its guest wrote the header of an image that is read through the secret."""
    _run("create", "-q", "-f", "qcow2", "-F", "raw", "-b", secret, tmp_path / "header")
    path = tmp_path / "disk.raw"
    path.write_bytes((tmp_path / "header").read_bytes().ljust(1 << 21, b"\0"))
    return path


def test_a_header_in_a_raw_disk_is_data(raw: Path) -> None:
    told = qemu_img.info(str(raw), "raw")
    assert (told.format, told.backing, told.size_bytes) == ("raw", None, 1 << 21)
    assert [image.path for image in qemu_img.chain(str(raw), "raw")] == [str(raw)]


def test_an_overlay_on_it_is_read_through_it_and_no_further(raw: Path, tmp_path: Path) -> None:
    overlay = tmp_path / "overlay.qcow2"
    qemu_img.create_overlay(str(overlay), qemu_img.info(str(raw), "raw"))
    chain = qemu_img.chain(str(overlay), "qcow2")
    assert [(image.path, image.format) for image in chain] == [(str(overlay), "qcow2"), (str(raw), "raw")]
    qemu_img.commit(str(overlay), "qcow2", str(raw))
    assert b"of root" not in raw.read_bytes()


def test_an_overlay_that_does_not_say_the_format_below_it_is_refused(raw: Path, tmp_path: Path) -> None:
    overlay = tmp_path / "overlay.qcow2"
    _run("create", "-q", "-f", "qcow2", "-F", "raw", "-b", raw, overlay)
    header = overlay.read_bytes()
    assert header.count(_BACKING_FORMAT) == 1
    overlay.write_bytes(header.replace(_BACKING_FORMAT, _UNKNOWN))
    with pytest.raises(UnsupportedError, match="does not say what format"):
        qemu_img.chain(str(overlay), "qcow2")


def test_an_image_that_is_read_through_itself_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "round.qcow2"
    _run("create", "-q", "-f", "qcow2", path, "1M")
    _run("rebase", "-q", "-u", "-f", "qcow2", "-F", "qcow2", "-b", path, path)
    with pytest.raises(NonRecoverableError, match="through itself"):
        qemu_img.chain(str(path), "qcow2")


def test_snapshots_are_made_in_what_was_told_to_be_qcow2(tmp_path: Path) -> None:
    path = tmp_path / "a,b.qcow2"
    _run("create", "-q", "-f", "qcow2", path, "1M")
    qemu_img.snapshot(str(path), "one")
    assert qemu_img.info(str(path), "qcow2").snapshots == ("one",)
    qemu_img.revert(str(path), "one")
    qemu_img.delete_snapshot(str(path), "one")
    assert qemu_img.info(str(path), "qcow2").snapshots == ()


def test_data_in_another_file_are_seen(tmp_path: Path, secret: Path) -> None:
    path = tmp_path / "disk.qcow2"
    _run("create", "-q", "-f", "qcow2", "-o", f"data_file={secret},data_file_raw=on", path, "1M")
    assert qemu_img.info(str(path), "qcow2").has_data_file

"""The tool ``qemu-img``, for images that no QEMU writes to.

The format of an image is always told, never probed: a guest can write into its raw disk what looks like the
header of an image that is read through any file of the host. Below the first image it is what the image above
says, which no guest can write; an image that does not say it is refused.
"""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from quiesce.errors import NonRecoverableError, OperationTimeoutError, UnsupportedError

_TOOL: Final = "qemu-img"
#: through how many files an image may be read
_DEEPEST: Final = 500
_LOCKED: Final = ("lock", "Is another process using the image")


class ImageInUseError(NonRecoverableError):
    """A running QEMU holds the image."""

    hint = "Save it through its domain, or stop the domain first."


@dataclass(frozen=True, slots=True, kw_only=True)
class DiskImage:
    """What an image file says about itself."""

    path: str
    format: str
    size_bytes: int
    backing: str | None
    #: tags of internal snapshots
    snapshots: tuple[str, ...]
    bitmaps: tuple[str, ...]
    #: those of them that a QEMU has open, or had when it died: worth nothing then
    bitmaps_in_use: tuple[str, ...]
    #: whether dirty bitmaps can be kept in it
    keeps_bitmaps: bool
    #: the format of what it is read through
    backing_format: str | None = None
    #: whether its data are in another file that it names
    has_data_file: bool = False


def chain(path: str, image_format: str) -> list[DiskImage]:
    """Return the image and those it is read through, top first; fine while a QEMU uses it.

    Raises:
        UnsupportedError: when one does not say what format the one below it has.
    """
    found = [info(path, image_format)]
    while (below := found[-1].backing) is not None:
        if below in {image.path for image in found} or len(found) >= _DEEPEST:
            raise NonRecoverableError(f"{path} is read through itself, or through too many files")
        found.append(info(below, found[-1].backing_format or ""))
    return found


def info(path: str, image_format: str) -> DiskImage:
    """Return what the image at *path* says about itself; fine while a QEMU uses it.

    Raises:
        UnsupportedError: when it does not say what format the image below it has.
    """
    image = _image(json.loads(_run("info", "-U", "-f", image_format, "--output=json", path)))
    if image.backing is not None and image.backing_format is None:
        raise UnsupportedError(
            f"{path} does not say what format {image.backing} has, and a guest may have written what it "
            "looks like",
            hint=f"Say it while nothing uses it: qemu-img rebase -u -F FORMAT -b {image.backing} {path}",
        )
    return image


def create_overlay(path: str, backing: DiskImage) -> None:
    """Make a new, private qcow2 image that holds nothing yet and is read through *backing*."""
    _run("create", "-q", "-f", "qcow2", "-F", backing.format, "-b", backing.path, path)
    Path(path).chmod(0o600)


def rename_backing(path: str, image_format: str, backing: str, backing_format: str) -> None:
    """Let the image say that it is read through *backing*, which holds what the one before held."""
    _run("rebase", "-q", "-u", "-f", image_format, "-F", backing_format, "-b", backing, path)


def commit(path: str, image_format: str, base: str) -> None:
    """Write what the image holds into *base*, which is right below it."""
    _run("commit", "-q", "-d", "-f", image_format, "-b", base, path, timeout_s=3600)


def snapshot(path: str, tag: str) -> None:
    """Make an internal snapshot."""
    _run("snapshot", "-q", "-c", tag, "--image-opts", _as_qcow2(path))


def revert(path: str, tag: str) -> None:
    """Go back to an internal snapshot."""
    _run("snapshot", "-q", "-a", tag, "--image-opts", _as_qcow2(path))


def delete_snapshot(path: str, tag: str) -> None:
    """Remove an internal snapshot."""
    _run("snapshot", "-q", "-d", tag, "--image-opts", _as_qcow2(path))


def remove_bitmap(path: str, name: str) -> None:
    """Remove a dirty bitmap."""
    _run("bitmap", "--remove", "-f", "qcow2", path, name)


def serve(path: str, image_format: str, socket: str, export: str, tag: str | None) -> subprocess.Popen[bytes]:
    """Start serving an image that nobody writes to, read only, at *socket*; end it by `terminate`."""
    read_from = ["--load-snapshot", f"snapshot.name={tag}"] if tag else []
    command = ["qemu-nbd", "--read-only", "--persistent", "--shared=4", f"--format={image_format}"]
    try:
        return subprocess.Popen(
            [*command, f"--export-name={export}", f"--socket={socket}", *read_from, path],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
        )
    except FileNotFoundError as error:
        raise _missing("qemu-nbd") from error


def _run(*arguments: str, timeout_s: float = 60.0) -> str:
    try:
        done = subprocess.run(
            [_TOOL, *arguments],
            capture_output=True,
            text=True,
            check=False,
            timeout=timeout_s,
            env={**os.environ, "LC_ALL": "C"},
        )
    except FileNotFoundError as error:
        raise _missing(_TOOL) from error
    except subprocess.TimeoutExpired as error:
        raise OperationTimeoutError(f"{_TOOL} {arguments[0]} took longer than {timeout_s:.0f} s") from error
    if done.returncode:
        raise _failure(arguments, done.stderr)
    return done.stdout


def _as_qcow2(path: str) -> str:
    """Return what opens the image as qcow2 and as nothing else, in the words of QEMU's options."""
    return f"driver=qcow2,file.driver=file,file.filename={path.replace(',', ',,')}"


def _failure(arguments: Sequence[str], said: str) -> NonRecoverableError:
    text = f"{_TOOL} {arguments[0]} failed: {said.strip().removeprefix('qemu-img: ')}"
    return ImageInUseError(text) if any(sign in said for sign in _LOCKED) else NonRecoverableError(text)


def _missing(tool: str) -> UnsupportedError:
    return UnsupportedError(f"{tool} is not installed here", hint="Install it: apt-get install qemu-utils")


def _image(found: dict[str, Any]) -> DiskImage:
    specific = found.get("format-specific", {}).get("data", {})
    bitmaps = specific.get("bitmaps", ())
    return DiskImage(
        path=found["filename"],
        format=found["format"],
        size_bytes=found["virtual-size"],
        backing=found.get("full-backing-filename") or found.get("backing-filename"),
        backing_format=found.get("backing-filename-format"),
        snapshots=tuple(snapshot["name"] for snapshot in found.get("snapshots", ())),
        bitmaps=tuple(bitmap["name"] for bitmap in bitmaps),
        bitmaps_in_use=tuple(b["name"] for b in bitmaps if "in-use" in b.get("flags", ())),
        has_data_file="data-file" in specific,
        keeps_bitmaps=found["format"] == "qcow2" and specific.get("compat") != "0.10",
    )

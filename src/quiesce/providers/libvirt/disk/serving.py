"""Serving an image that no QEMU writes to, read only, as QEMU serves a running domain's disks."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from quiesce.errors import NonRecoverableError
from quiesce.providers.libvirt.disk import qemu_img
from quiesce.providers.libvirt.job import LibvirtJob

_SERVER_ENDS_S: Final = 10.0
_LOOK_AGAIN_S: Final = 0.05


@contextlib.contextmanager
def served(
    job: LibvirtJob, path: str, image_format: str, socket: Path, export: str, *, tag: str | None = None
) -> Iterator[None]:
    """Serve an image at *socket*, or what its snapshot *tag* holds, for as long as the block lasts."""
    socket.unlink(missing_ok=True)
    server = qemu_img.serve(path, image_format, str(socket), export, tag)

    def look() -> bool | None:
        if server.poll() is not None:
            said = server.stderr.read().decode(errors="replace") if server.stderr else ""
            raise NonRecoverableError(f"qemu-nbd does not serve {path}: {said.strip()}")
        return True if socket.exists() else None

    try:
        job.deadline(f"qemu-nbd to serve {path}").until(look, longest_s=_LOOK_AGAIN_S)
        yield
    finally:
        server.terminate()
        server.wait(timeout=_SERVER_ENDS_S)
        if server.stderr:
            server.stderr.close()
        socket.unlink(missing_ok=True)

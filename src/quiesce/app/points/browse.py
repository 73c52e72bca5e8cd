"""Look into a restore point, and take single files out of it: nothing else is restored or touched."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from quiesce.app.inquiry import Inquiry
from quiesce.app.points.asking import question_of
from quiesce.app.points.naming import point_named
from quiesce.app.points.verify import refuse_found_damaged
from quiesce.app.services import Services
from quiesce.engine import Attempt
from quiesce.errors import UnknownNameError, UnsupportedError
from quiesce.files.durable import make_private_directory, storage_errors
from quiesce.model.restore_point import Artifact, RestorePoint
from quiesce.model.stored_entry import StoredListing
from quiesce.ports import Browser


def list_stored(
    services: Services, deployment: str, name: str, instance: str, below: bytes = b""
) -> StoredListing:
    """Return what is in the directory *below* of what a restore point holds of *instance*.

    Raises:
        UnknownNameError: when there is no such deployment, restore point or instance.
        DamagedError: when its last check found damage.
        ProviderError: when there is no such directory, or it cannot be read.
    """
    browser, inquiry, attempt = _asked(services, deployment, name, instance)
    step = attempt.step
    return browser.entries(inquiry.call_of(step), inquiry.context_of(step, attempt), below)


@contextmanager
def extracted_file(
    services: Services, deployment: str, name: str, instance: str, path: bytes
) -> Iterator[IO[bytes]]:
    """Give one file of a restore point, whole and checked, as a private file that nobody else can open.

    Raises:
        UnknownNameError, DamagedError, ProviderError: as `list_stored`.
    """
    browser, inquiry, attempt = _asked(services, deployment, name, instance)
    step = attempt.step
    with storage_errors(f"use {services.proofs_dir}"):
        make_private_directory(Path(services.proofs_dir))
        # without a name: gone with this process, however it ends
        file = tempfile.TemporaryFile(dir=services.proofs_dir)  # noqa: SIM115  closed below
    with file:
        context = inquiry.context_of(step, attempt)
        browser.extract_file(inquiry.call_of(step), context, path, file.fileno())
        os.lseek(file.fileno(), 0, os.SEEK_SET)
        yield file


def _asked(services: Services, deployment: str, name: str, instance: str) -> tuple[Browser, Inquiry, Attempt]:
    found = services.deployments.get(deployment)
    point = point_named(services, found.name, name)
    artifact = _artifact(point, instance)
    refuse_found_damaged(point, [artifact.instance])
    inquiry, attempt = question_of(services, found, point, artifact)
    provider = services.provider(attempt.step.provider)
    if not isinstance(provider, Browser):
        raise UnsupportedError(
            f"{attempt.step.provider} cannot look into what it has stored",
            hint="Restore it elsewhere, and look there: quiesce restore --target, or --to.",
        )
    return provider, inquiry, attempt


def _artifact(point: RestorePoint, instance: str) -> Artifact:
    """Return *instance*'s part; the name of its node is enough when it is the only one of it."""
    alike = [a for a in point.artifacts if a.instance == instance]
    alike = alike or [a for a in point.artifacts if a.instance.rpartition("_")[0] == instance]
    if len(alike) != 1:
        known = [artifact.instance for artifact in point.artifacts]
        raise UnknownNameError(f"part of {point.name}", instance, known)
    return alike[0]

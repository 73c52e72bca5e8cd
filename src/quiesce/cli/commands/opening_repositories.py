"""What the commands on repositories share: options that name credentials, and opening."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import wraps
from pathlib import Path
from typing import Any, Final

import click

from quiesce.app.masking import Masking
from quiesce.app.repository_access import GivenCredentials, RepositoryAccess
from quiesce.bootstrap import Settings, repository_access
from quiesce.cli.session import without_secrets
from quiesce.repository import Repository
from quiesce.storage import Limits

_MIB: Final = 1 << 20


def credential_options(command: Callable[..., None]) -> Callable[..., None]:
    """Add what opens a repository beside the keys of ``QUIESCE_HOME``; *command* gets it as ``given``."""

    @click.option(
        "--passphrase",
        metavar="SECRET",
        help="The name of the secret (secrets.yaml, QUIESCE_SECRET_<NAME>) that holds a passphrase.",
    )
    @click.option(
        "--key-file",
        type=click.Path(exists=True, dir_okay=False, path_type=Path),
        metavar="FILE",
        help="A key file that opens it, beside the keys of QUIESCE_HOME.",
    )
    @wraps(command)
    def with_credentials(passphrase: str | None, key_file: Path | None, **rest: Any) -> None:
        command(given=GivenCredentials(passphrase=passphrase, key_file=key_file), **rest)

    return with_credentials


bandwidth_option = click.option(
    "--bandwidth",
    type=click.FloatRange(min=0, min_open=True),
    metavar="MIB",
    help="At most so many MiB a second, each way.",
)


@contextmanager
def repository_home() -> Iterator[RepositoryAccess]:
    masking = Masking()
    with without_secrets(masking):
        yield repository_access(Settings.of(os.environ), masking)


@contextmanager
def opened_at_home(
    url: str, given: GivenCredentials, bandwidth: float | None = None
) -> Iterator[tuple[RepositoryAccess, Repository]]:
    with (
        repository_home() as home,
        home.opened(url, given, limits=bandwidth_limits(bandwidth)) as opened,
    ):
        yield home, opened


def bandwidth_limits(bandwidth: float | None) -> Limits | None:
    if bandwidth is None:
        return None
    return Limits(upload_bytes_per_s=bandwidth * _MIB, download_bytes_per_s=bandwidth * _MIB)


@contextmanager
def opened_repository(
    url: str, given: GivenCredentials, bandwidth: float | None = None
) -> Iterator[Repository]:
    """Hold the repository at *url* open."""
    with opened_at_home(url, given, bandwidth) as (_, opened):
        yield opened

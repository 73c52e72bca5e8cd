"""A Cloudify manager, which there is none of here."""

from __future__ import annotations

from typing import NoReturn

from cloudify.exceptions import NonRecoverableError


def get_rest_client(*_: object, **__: object) -> NoReturn:
    """Refuse.

    Raises:
        NonRecoverableError: always: quiesce runs without a Cloudify manager.
    """
    raise NonRecoverableError("there is no Cloudify manager here; quiesce runs this script by itself")

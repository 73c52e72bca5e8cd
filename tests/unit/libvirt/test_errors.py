"""libvirt's errors in our words."""

from __future__ import annotations

import pytest

from quiesce.errors import (
    CannotFreezeError,
    NonRecoverableError,
    OperationTimeoutError,
    RecoverableError,
    ResourceNotFoundError,
    UnsupportedError,
)
from quiesce.providers.libvirt import errors


@pytest.mark.parametrize(
    ("number", "message", "kind"),
    [
        (errors.NO_DOMAIN, "no domain", ResourceNotFoundError),
        (1, "client socket is closed", RecoverableError),
        (errors.AGENT_UNRESPONSIVE, "Guest agent is not responding: not connected", CannotFreezeError),
        (errors.AGENT_UNRESPONSIVE, "Guest agent not available for now", OperationTimeoutError),
        (errors.ARGUMENT_UNSUPPORTED, "QEMU guest agent is not configured", CannotFreezeError),
        (errors.OPERATION_TIMEOUT, "cannot acquire state change lock", RecoverableError),
        (errors.OPERATION_UNSUPPORTED, "not supported yet", UnsupportedError),
        (None, "anything else", NonRecoverableError),
    ],
)
def test_each_error_says_whether_asking_again_helps(number: int, message: str, kind: type[Exception]) -> None:
    found = errors.translate(number, message, "do it")
    assert isinstance(found, kind)
    assert message in str(found)

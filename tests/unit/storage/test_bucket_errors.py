"""What object stores answer, in their own words, and what it means for us."""

from __future__ import annotations

import pytest

from quiesce.errors import (
    ObjectExistsError,
    ObjectLockedError,
    ObjectNotFoundError,
    StorageDeniedError,
    StorageError,
    StorageFullError,
    StorageUnavailableError,
    UnreachableError,
)
from quiesce.storage.bucket_errors import meaning_of, says_range_not_satisfiable


def answer(status: int, code: str = "", message: str = "") -> Exception:
    body = f"<Error><Code>{code}</Code><Message>{message}</Message></Error>" if code else ""
    return Exception(
        f"Generic S3 error: Error performing PUT https://store/bucket/name?sig=hunter2 in 1s - Server "
        f"returned non-2xx status code: {status} Why: {body}\n\nDebug source:\nGeneric {{ sig=hunter2 }}"
    )


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (answer(404, "NoSuchKey"), ObjectNotFoundError),
        (answer(404), ObjectNotFoundError),
        (answer(404, "NoSuchBucket"), UnreachableError),
        (answer(404, "ContainerNotFound"), UnreachableError),
        (
            Exception("Bulk delete failed: The specified container does not exist. (code: 404)"),
            UnreachableError,
        ),
        (Exception("Bulk delete failed: blob is immutable due to a policy. (code: 409)"), ObjectLockedError),
        (
            Exception("Bulk delete failed: The specified blob does not exist. (code: 404)"),
            ObjectNotFoundError,
        ),
        (answer(412, "PreconditionFailed"), ObjectExistsError),
        (answer(409, "BlobAlreadyExists"), ObjectExistsError),
        (answer(304), ObjectExistsError),
        (answer(409, "ConditionalRequestConflict"), StorageUnavailableError),
        (answer(409, "OperationAborted"), StorageUnavailableError),
        (answer(409, "BlobImmutableDueToPolicy"), ObjectLockedError),
        (answer(403, "RetentionPolicyNotMet"), ObjectLockedError),
        (answer(403, "AccessDenied"), StorageDeniedError),
        (answer(403, "SignatureDoesNotMatch"), StorageDeniedError),
        (answer(401), StorageDeniedError),
        (answer(400, "ExpiredToken"), StorageDeniedError),
        (answer(403, "QuotaExceeded"), StorageFullError),
        (answer(507, "InsufficientStorage"), StorageFullError),
        (answer(503, "SlowDown"), StorageUnavailableError),
        (answer(500, "InternalError"), StorageUnavailableError),
        (answer(429), StorageUnavailableError),
        (answer(400, "RequestTimeout"), StorageUnavailableError),
        (answer(400, "InvalidRequest"), StorageError),
        (Exception("Generic S3 error: ... - HTTP error: error sending request"), StorageUnavailableError),
        (Exception("... error sending request\n\nDebug source: invalid peer certificate"), StorageError),
        (Exception("Generic S3 error: something that nobody foresaw"), StorageError),
        (Exception("Encountered object with invalid path: a//b"), StorageError),
        (Exception("Error performing PUT http://169.254.169.254/latest/api/token"), StorageDeniedError),
    ],
)
def test_an_answer_means_what_the_operator_can_do_next(error: Exception, kind: type[StorageError]) -> None:
    assert type(meaning_of(error, "cannot put name")) is kind


def test_neither_a_signature_nor_the_librarys_inner_life_is_shown() -> None:
    for error in (
        answer(403, "AccessDenied", "You may not"),
        answer(400),
        Exception("to https://x/y?sig=hunter2 failed"),
    ):
        text = str(meaning_of(error, "cannot put name"))
        assert text.startswith("cannot put name: ")
        assert "hunter2" not in text
        assert "\n" not in text
    assert "You may not" in str(meaning_of(answer(403, "AccessDenied", "You may not"), ""))


def test_a_range_behind_the_end_is_known_by_its_status_alone() -> None:
    assert says_range_not_satisfiable(str(answer(416, "InvalidRange")))
    behind = "Generic MicrosoftAzure error: Wanted range starting at 10, but object was only 10 bytes long"
    assert says_range_not_satisfiable(behind)
    assert not says_range_not_satisfiable(str(answer(404, "Code416")))

"""What the service complains about becomes the error that says what can be done next."""

from __future__ import annotations

import pytest

from quiesce.errors import (
    NonRecoverableError,
    OperationTimeoutError,
    ProviderError,
    RecoverableError,
    ResourceNotFoundError,
    UnsupportedError,
)
from quiesce.providers.gcp.errors import AlreadyThereError, QuotaError, RefusedError, lost, problem


@pytest.mark.parametrize(
    ("status", "reason", "kind"),
    [
        (403, "quotaExceeded", QuotaError),
        (403, "rateLimitExceeded", QuotaError),
        (400, "QUOTA_EXCEEDED", QuotaError),
        (429, "", QuotaError),
        (403, "forbidden", NonRecoverableError),
        (401, "authError", NonRecoverableError),
        (404, "notFound", ResourceNotFoundError),
        (400, "RESOURCE_NOT_FOUND", ResourceNotFoundError),
        (409, "alreadyExists", AlreadyThereError),
        (412, "conditionNotMet", RecoverableError),
        (400, "resourceNotReady", RecoverableError),
        (400, "resourceInUseByAnotherResource", RecoverableError),
        (503, "backendError", RecoverableError),
        (500, "INTERNAL_ERROR", RecoverableError),
        (400, "ZONE_RESOURCE_POOL_EXHAUSTED", RecoverableError),
        (400, "UNSUPPORTED_OPERATION", UnsupportedError),
        (400, "invalid", RefusedError),
    ],
)
def test_each_complaint_has_its_class(status: int, reason: str, kind: type[ProviderError]) -> None:
    assert type(problem(status, reason, "text")) is kind


def test_only_what_may_pass_is_tried_again() -> None:
    assert problem(429, "rateLimitExceeded", "text", retry_after_s=3).retry_after_s == 3
    assert not problem(403, "forbidden", "text").retryable
    assert "role" in problem(403, "forbidden", "text").hint


def test_a_lost_answer_to_a_change_is_not_taken_for_a_failure() -> None:
    assert isinstance(lost("make a disk", changes=True), OperationTimeoutError)
    assert isinstance(lost("read a disk", changes=False), RecoverableError)


@pytest.mark.parametrize(
    ("status", "reason", "message"),
    [
        # hashicorp/terraform-provider-google#8360: on the spot
        (
            403,
            "rateLimitExceeded",
            "Quota exceeded for quota group 'ReadGroup' and limit 'Read requests per user per 100 seconds'",
        ),
        # googleapis/google-api-go-client#832 and googleapis/nodejs-compute#459: at the operation's end
        (403, "QUOTA_EXCEEDED", "Quota 'SNAPSHOTS' exceeded.  Limit: 1000.0 globally."),
    ],
    ids=["request", "operation"],
)
def test_a_limit_as_it_was_shown_in_public_is_one(status: int, reason: str, message: str) -> None:
    error = problem(status, reason, message)
    assert type(error) is QuotaError
    assert message in str(error)

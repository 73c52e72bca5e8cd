"""Which answers are worth asking again after."""

from __future__ import annotations

import pytest

from quiesce.errors import NonRecoverableError, RecoverableError, ResourceNotFoundError, UnsupportedError
from quiesce.providers.openstack.errors import NotAllowedError, QuotaExceededError, error_of


@pytest.mark.parametrize("status", [408, 409, 413, 429, 500, 502, 503, 504])
def test_what_passes_by_itself_is_retryable(status: int) -> None:
    assert isinstance(error_of(status, "later", asked="GET x"), RecoverableError)


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (400, NonRecoverableError),
        (401, NotAllowedError),
        (403, NotAllowedError),
        (404, ResourceNotFoundError),
        (406, UnsupportedError),
        (410, ResourceNotFoundError),
        (501, UnsupportedError),
    ],
)
def test_what_does_not_pass_is_permanent(status: int, kind: type[Exception]) -> None:
    error = error_of(status, "no", asked="GET x")
    assert type(error) is kind
    assert not error.retryable


def test_the_service_says_when_to_come_back() -> None:
    assert error_of(429, "slowly", asked="GET x", retry_after_s=7).retry_after_s == 7


@pytest.mark.parametrize(
    ("status", "message"),
    [
        (413, "VolumeLimitExceeded: Maximum number of volumes allowed (10) exceeded for quota 'volumes'."),
        (403, "Quota exceeded for instances: Requested 1, but already used 10 of 10 instances"),
        (413, "Request exceeds the storage quota"),
        (409, "Quota exceeded for resources: ['security_group_rule']."),
    ],
    ids=["cinder", "nova", "glance", "neutron"],
)
def test_a_full_quota_is_told_from_a_rate_limit(status: int, message: str) -> None:
    assert isinstance(error_of(status, message, asked="POST x"), QuotaExceededError)


def test_a_state_that_no_waiting_changes_is_permanent() -> None:
    message = "Cannot 'resume' instance X while it is in vm_state active"
    assert not error_of(409, message, asked="POST x").retryable


def test_a_task_under_way_is_retryable() -> None:
    message = "Cannot 'createBackup' instance X while it is in task_state image_backup"
    assert error_of(409, message, asked="POST x").retryable


def test_cinder_says_busy_as_a_bad_request() -> None:
    message = "Invalid backup: Backup status must be available"
    assert error_of(400, message, asked="POST x").retryable


def test_a_silent_agent_of_an_image_that_demands_it_says_what_to_do() -> None:
    message = "Failed to quiesce instance: Guest agent is not responding"
    assert "guest agent" in error_of(409, message, asked="POST x").hint

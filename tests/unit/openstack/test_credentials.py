"""What blueprints say about their cloud."""

from __future__ import annotations

import pytest

from quiesce.errors import NonRecoverableError
from quiesce.providers.openstack.credentials import read_credentials


def test_a_client_config_is_sorted_into_what_the_sdk_wants() -> None:
    found = read_credentials(
        {
            "auth_url": "https://cloud/v3",
            "username": "demo",
            "password": "secret",
            "tenant_name": "shop",
            "region": "north",
            "insecure": True,
            "ca_cert": "",
            "logging": {"use_cfy_logger": True},
        }
    )
    assert found.auth == {
        "auth_url": "https://cloud/v3",
        "username": "demo",
        "password": "secret",
        "project_name": "shop",
        "user_domain_id": "default",
        "project_domain_id": "default",
    }
    assert found.options == {"region_name": "north", "verify": False}


def test_free_settings_win_over_the_named_ones() -> None:
    found = read_credentials({"auth_url": "old", "kwargs": {"auth_url": "new", "interface": "internal"}})
    assert found.auth["auth_url"] == "new"
    assert found.options == {"interface": "internal"}


def test_a_named_cloud_is_left_to_its_file() -> None:
    found = read_credentials({"cloud": "production"})
    assert found.auth == {}
    assert found.options == {"cloud": "production"}


def test_a_domain_that_is_given_is_kept() -> None:
    found = read_credentials({"auth_url": "u", "username": "a", "user_domain_name": "staff"})
    assert "user_domain_id" not in found.auth


def test_no_secret_is_ever_shown() -> None:
    found = read_credentials({"username": "demo", "password": "hunter2"})
    assert "hunter2" not in repr(found)


def test_the_same_login_shares_one_connection() -> None:
    one = read_credentials({"username": "demo", "password": "x", "tenant_name": "p"})
    other = read_credentials({"project_name": "p", "password": "x", "username": "demo"})
    assert one == other
    assert hash(one) == hash(other)


def test_what_is_no_mapping_is_refused() -> None:
    with pytest.raises(NonRecoverableError, match="kwargs"):
        read_credentials({"kwargs": "auth_url=x"})

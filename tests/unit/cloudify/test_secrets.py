"""What is taken for a secret inside Cloudify."""

from __future__ import annotations

import json

import pytest

from quiesce.app.masking import MASK, Masking
from quiesce.cloudify.secrets import know_secrets
from quiesce.model.ids import Json

WORD = "vermilion-quokka"


def _masks(properties: dict[str, Json], written: dict[str, Json] | None = None) -> bool:
    masking = Masking()
    know_secrets(masking, properties if written is None else written, properties, {})
    return masking.text(f"the device said {WORD}.") == f"the device said {MASK}."


@pytest.mark.parametrize(
    "properties",
    [
        {"password": WORD},
        {"terminal_auth": {"ip": "10.0.0.1", "key_content": WORD}},
        {"client_config": {"auth": {"application_credential_secret": WORD}}},
        {"gcp_config": {"auth": json.dumps({"private_key": WORD})}},
        {"accounts": [{"name": "ada", "api_key": WORD}]},
        {"secrets": {"one": [WORD]}},
    ],
)
def test_what_is_called_a_secret_is_one(properties: dict[str, Json]) -> None:
    assert _masks(properties)


@pytest.mark.parametrize(
    "properties", [{"user": WORD}, {"secret_name": WORD}, {"private_key_path": WORD}, {"password": None}]
)
def test_what_names_one_is_none(properties: dict[str, Json]) -> None:
    assert not _masks(properties)


@pytest.mark.parametrize(
    "written",
    [
        {"url": {"get_secret": "word"}},
        {"url": {"concat": ["", {"get_secret": "word"}]}},
        {"url": {"get_input": "word"}},
    ],
)
def test_what_came_from_a_secret_is_one(written: dict[str, Json]) -> None:
    assert _masks({"url": WORD}, written) is ("get_secret" in json.dumps(written))
    assert _masks({"all": [{"url": WORD}]}, {"all": [written]}) is ("get_secret" in json.dumps(written))


def test_inputs_of_the_operation_count_too() -> None:
    masking = Masking()
    know_secrets(masking, {}, {}, {"terminal_auth": {"password": WORD}})
    assert masking.text(WORD) == MASK

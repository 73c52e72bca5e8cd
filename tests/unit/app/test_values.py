"""Values as an operator writes them."""

from __future__ import annotations

import pytest

from quiesce.app import values
from quiesce.model.ids import Json


@pytest.mark.parametrize(
    "value", ["plain", "7", "true", "null", "", '"quoted"', 7, 2.5, True, ["a", "b"], {"a": [1]}]
)
def test_what_is_written_is_read_as_the_same(value: Json) -> None:
    assert values.read_value(values.write_value(value)) == value
    assert type(values.read_value(values.write_value(value))) is type(value)


def test_a_value_is_written_as_a_person_would() -> None:
    texts = [values.write_value(value) for value in ("30 2 * * *", 7, "7", True, "true")]
    assert texts == ["30 2 * * *", "7", '"7"', "true", '"true"']

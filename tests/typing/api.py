"""What the public names promise to a type checker."""

from __future__ import annotations

from typing import assert_type

from quiesce.model.consistency import Consistency, weakest
from quiesce.model.ids import BackupName, backup_name
from quiesce.ports import Provider
from quiesce.providers.fake.provider import FakeProvider

assert_type(weakest([Consistency.CRASH]), Consistency)
assert_type(backup_name("daily"), BackupName)
provider: Provider = FakeProvider()

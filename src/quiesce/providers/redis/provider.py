"""Answers the provider port for Redis and Valkey servers."""

from __future__ import annotations

from collections.abc import Mapping

from quiesce.model.ids import Json
from quiesce.ports import ProviderSettings
from quiesce.provider_kit.held_servers import HeldServerProvider
from quiesce.providers.redis import DESCRIPTION
from quiesce.providers.redis.discover import discover
from quiesce.providers.redis.job import RedisJob
from quiesce.providers.redis.operations import RedisOperations
from quiesce.providers.redis.options import RedisOptions

_HOLDER = "quiesce.providers.redis.holder"


class RedisProvider(HeldServerProvider[RedisJob]):
    """Servers that are reached by socket or network; saved where their files are on this machine."""

    def __init__(self, settings: ProviderSettings) -> None:
        super().__init__(settings, DESCRIPTION, RedisOptions, RedisOperations(), RedisJob, holder=_HOLDER)

    def discover(self, options: Mapping[str, str]) -> Mapping[str, Json]:
        """Return a blueprint of the server that answers."""
        return discover(options)

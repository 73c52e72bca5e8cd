"""What is kept, as options of a command."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import Any, TypeVar

import click

from quiesce.cli.values import read_age
from quiesce.model.retention import RetentionPolicy

R = TypeVar("R")


def retention_options(command: Callable[..., R]) -> Callable[..., R]:
    """Add the rules by which restore points are kept; *command* gets them as ``policy``."""

    @click.option("--keep-last", type=click.IntRange(min=1), metavar="N", help="Keep the newest N.")
    @click.option("--keep-daily", type=click.IntRange(min=1), metavar="N", help="Keep one of each of N days.")
    @click.option(
        "--keep-weekly", type=click.IntRange(min=1), metavar="N", help="Keep one of each of N weeks."
    )
    @click.option(
        "--keep-monthly", type=click.IntRange(min=1), metavar="N", help="Keep one of each of N months."
    )
    @click.option(
        "--keep-within", metavar="AGE", help="Keep those up to AGE (36h, 30d, 8w) older than the newest one."
    )
    @wraps(command)
    def with_policy(
        *,
        keep_last: int | None,
        keep_daily: int | None,
        keep_weekly: int | None,
        keep_monthly: int | None,
        keep_within: str | None,
        **rest: Any,
    ) -> R:
        policy = RetentionPolicy(
            last=keep_last,
            daily=keep_daily,
            weekly=keep_weekly,
            monthly=keep_monthly,
            within_s=None if keep_within is None else read_age(keep_within),
        )
        return command(policy=policy, **rest)

    return with_policy

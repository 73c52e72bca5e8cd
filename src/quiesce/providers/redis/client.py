"""One session on a server. Nothing else imports redis."""

from __future__ import annotations

import contextlib
import shlex
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Self

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from quiesce.errors import NonRecoverableError, ProviderError, RecoverableError
from quiesce.provider_kit.server_access import shown_address, socket_to, tls_context
from quiesce.providers.redis.options import RedisOptions

#: what one answer may take while nothing says how long, in seconds
_ANSWER_S: Final = 30.0


@dataclass(frozen=True, slots=True, kw_only=True)
class RedisFacts:
    """What a server says about itself."""

    #: ``redis`` or ``valkey``
    name: str
    version: tuple[int, ...]
    is_replica: bool
    is_cluster: bool
    #: empty when it was started without one
    config_file: str
    executable: str
    directory: str
    dump_name: str
    appends: bool
    append_name: str
    #: files that it could not be started without, beside its data
    started_with: tuple[Path, ...]


class RedisSession:
    """One session."""

    def __init__(self, options: RedisOptions, *, timeout_s: float = _ANSWER_S) -> None:
        """Log in.

        Raises:
            RecoverableError: when nobody answers, or this user may not log in.
        """
        self.address = shown_address(options, options.host.startswith("/"))
        patience_s = max(0.1, timeout_s)
        self._until_closed = contextlib.ExitStack()
        reached = self._until_closed.enter_context(socket_to(options, patience_s=min(patience_s, _ANSWER_S)))
        self._client: Any = redis.Redis(
            **_where(reached),
            username=options.user,
            password=options.password,
            socket_timeout=patience_s,
            socket_connect_timeout=min(patience_s, _ANSWER_S),
            retry=Retry(NoBackoff(), 0),
            decode_responses=True,
            encoding_errors="replace",  # what it holds may be no text
            client_name="quiesce",
            protocol=2,
            max_connections=1,
        )
        try:
            self._client.ping()
        except redis.exceptions.BusyLoadingError:
            return  # it answers that it loads
        except redis.RedisError as error:
            self.close()
            raise RecoverableError(f"the server at {self.address} cannot be used: {error}") from error

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """End the session."""
        with self._until_closed, contextlib.suppress(redis.RedisError):
            self._client.close()

    def facts(self) -> RedisFacts:
        """Return what the server says about itself."""
        about = self.info("everything")
        version = str(about.get("valkey_version") or about["redis_version"])
        directory = self.setting("dir")
        needed = [about.get("config_file"), self.setting("aclfile"), *self._settings("tls-*-file").values()]
        return RedisFacts(
            name=str(about.get("server_name", "redis")),
            version=tuple(int(part) for part in version.split(".") if part.isdecimal()),
            is_replica=about.get("role") != "master",
            is_cluster=about.get("cluster_enabled") == 1,
            config_file=str(about.get("config_file", "")),
            executable=str(about.get("executable", "")),
            directory=directory,
            dump_name=self.setting("dbfilename"),
            appends=self.setting("appendonly") == "yes",
            append_name=self.setting("appendfilename"),
            started_with=tuple(Path(directory, str(name)) for name in needed if name),
        )

    def info(self, section: str) -> Mapping[str, Any]:
        """Return figures by name."""
        with self._errors():
            found: Mapping[str, Any] = self._client.info(section)
            return found

    def run_id(self) -> str:
        """Return what is another one after each start of the server."""
        return str(self.info("server")["run_id"])

    def setting(self, name: str) -> str:
        """Return a setting; empty when there is none of that name."""
        return str(self._settings(name).get(name, ""))

    def pause(self, seconds: float) -> None:
        """Hold all writes for so long; reading goes on. Asked again, it lasts from then on."""
        with self._errors():
            self._client.execute_command("CLIENT", "PAUSE", _milliseconds(seconds), "WRITE")

    def unpause(self) -> None:
        """Let writes go on."""
        with self._errors():
            self._client.client_unpause()

    def fork_to_save(self) -> tuple[int | None, int]:
        """Have the server write its state of this instant, and return how many keys that has, and its clock.

        No number when it changed between two counts, right before and right after. (In a transaction it
        would be done by and by.)
        """
        with self._errors():
            pipeline = self._client.pipeline(transaction=False).time().info("keyspace").bgsave()
            (seconds, _), before, _, after = pipeline.info("keyspace").execute()
        keys = keys_in(before)
        return keys if keys == keys_in(after) else None, int(seconds)

    def save_and_pause(self, seconds: float) -> None:
        """Write everything to the disk, and hold all writes for so long from then on.

        Nobody is answered meanwhile. (All of it is sent at once: nobody else comes in between.)
        """
        pause = "CLIENT", "PAUSE", _milliseconds(seconds), "WRITE"
        with self._errors():
            pipeline = self._client.pipeline(transaction=False).execute_command(*pause).save()
            pipeline.execute_command(*pause).execute()

    def shut_down(self, *, saving: bool) -> None:
        """End the server."""
        with self._errors():
            self._client.shutdown(save=saving, nosave=not saving)

    def command(self, text: str) -> Any:
        """Return what a command answers."""
        with self._errors():
            return self._client.execute_command(*shlex.split(text))

    def _settings(self, pattern: str) -> Mapping[str, Any]:
        with self._errors():
            found: Mapping[str, Any] = self._client.config_get(pattern)
            return found

    @contextlib.contextmanager
    def _errors(self) -> Iterator[None]:
        try:
            yield
        except redis.RedisError as error:
            raise self._ours(error) from error

    def _ours(self, error: redis.RedisError) -> ProviderError:
        text = f"the server at {self.address}: {error}"
        if isinstance(error, redis.exceptions.NoPermissionError):
            return NonRecoverableError(text, hint="Give the user what docs/providers/redis.md lists.")
        retryable = redis.ConnectionError, redis.TimeoutError, redis.exceptions.BusyLoadingError
        if isinstance(error, retryable) or "already in progress" in str(error):
            return RecoverableError(text)
        return NonRecoverableError(text)


def _where(options: RedisOptions) -> dict[str, Any]:
    if options.host.startswith("/"):
        return {"unix_socket_path": options.host}
    where: dict[str, Any] = {"host": options.host, "port": options.port}
    if not options.encrypts:
        return where
    tls_context(options)  # says which file cannot be used
    return where | {
        "ssl": True,
        "ssl_cert_reqs": "required",
        "ssl_check_hostname": True,
        "ssl_ca_certs": options.tls_ca,
        "ssl_certfile": options.tls_certificate,
        "ssl_keyfile": options.tls_key,
    }


def is_there(options: RedisOptions, *, timeout_s: float) -> bool:
    """Tell whether a server answers, be it that it loads, or that this user may not log in."""
    try:
        RedisSession(options, timeout_s=timeout_s).close()
    except RecoverableError as error:
        return isinstance(error.__cause__, redis.exceptions.AuthenticationError)
    return True


def keys_in(keyspace: Mapping[str, Any]) -> int:
    """Return how many keys all databases of a server hold."""
    return sum(int(each["keys"]) for each in keyspace.values() if isinstance(each, dict))


def _milliseconds(seconds: float) -> int:
    return max(1, int(seconds * 1000))

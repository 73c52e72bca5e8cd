"""The composition root: settings in, services out."""

from __future__ import annotations

import os
import secrets as random_source
import socket
import string
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Final

from quiesce.app.masking import Masking
from quiesce.app.services import Services
from quiesce.backups import DRAFTS, KEYS_FILE, BackupHome, Keyring
from quiesce.clock import SystemClock
from quiesce.errors import NonRecoverableError
from quiesce.files.durable import make_private_directory
from quiesce.files.reading import read_regular
from quiesce.files.trust import find_fault, require_trusted
from quiesce.guard import GuardProcess
from quiesce.isolation.modules import own_command
from quiesce.messenger import WebMessenger
from quiesce.model.capabilities import Description
from quiesce.model.deployment import Deployment
from quiesce.ports import Deployments, Finding, Guard, Leases, LiveDeployment, ProviderSettings
from quiesce.providers.registry import Providers, describe_providers
from quiesce.stores.catalog import SqlCatalog
from quiesce.stores.database import Database, file_of, password_of
from quiesce.stores.deployments import SqlDeployments
from quiesce.stores.executions import SqlExecutions
from quiesce.stores.leases import FileLeases
from quiesce.stores.manifests import RepositoryManifests, deployments_in
from quiesce.stores.policies import SqlPolicies

if TYPE_CHECKING:
    from quiesce.app.repository_access import RepositoryAccess

#: below the home: where full backups go unless a node says something else
DEFAULT_REPOSITORY: Final = "repository"
SECRETS_FILE: Final = "secrets.yaml"
#: who may use the console
USERS_FILE: Final = "console-users.json"
#: how large the file of secrets may be
_SECRETS_BYTES: Final = 16 * 1024 * 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """Where state is kept. Everything else is a parameter of the workflow, or in the blueprint."""

    home: Path
    database_url: str
    #: what this machine is called among those that share the database
    host: str = field(default_factory=socket.gethostname)
    #: path or URL of the repository; empty: it lies in the home
    repository: str = ""

    @property
    def keys_file(self) -> Path:
        """Where the keys lie by which what is in repositories is known again."""
        return self.home / KEYS_FILE

    @property
    def default_repository(self) -> str:
        """Where full backups go unless a node says something else: a path, or a URL."""
        return self.repository or str(self.home / DEFAULT_REPOSITORY)

    @property
    def proofs(self) -> Path:
        """Where restore points are restored on trial."""
        return self.home / "proofs"

    @classmethod
    def of(cls, environment: Mapping[str, str]) -> Settings:
        """Read ``QUIESCE_HOME``, ``QUIESCE_DATABASE``, ``QUIESCE_HOST`` and ``QUIESCE_REPOSITORY``.

        Default is the user's data directory, and the machine's own name.
        """
        data = environment.get("XDG_DATA_HOME") or str(Path.home() / ".local" / "share")
        home = Path(environment.get("QUIESCE_HOME") or Path(data) / "quiesce").absolute()
        return cls(
            home=home,
            database_url=environment.get("QUIESCE_DATABASE") or f"sqlite:///{home}/quiesce.db",
            host=environment.get("QUIESCE_HOST") or socket.gethostname(),
            repository=environment.get("QUIESCE_REPOSITORY") or "",
        )


class Application:
    """The services, and what has to be closed after use."""

    def __init__(
        self,
        settings: Settings,
        guard: GuardProcess | None = None,
        *,
        guards: Callable[[Settings], GuardProcess] | None = None,
        masking: Masking | None = None,
    ) -> None:
        """Open the database and find the providers.

        *guard* is one that was started ahead; *guards* starts others than `start_guard` does. *masking* is
        told every secret, the database's password before anything can fail.

        Raises:
            UntrustedPathError: when somebody else could have changed what is in the home or the database.
            StoreError: when the database cannot be used.
        """
        masking = masking or Masking()
        masking.add(password_of(settings.database_url))
        self._ready_guards = [guard] if guard is not None else []
        self._guards = list(self._ready_guards)
        self._settings = settings
        self._start_guard = guards or start_guard
        require_trusted_home(settings.home)
        self._database = Database(settings.database_url)
        descriptions = describe_providers()
        repository = settings.default_repository
        secrets = Secrets(settings.home / SECRETS_FILE, os.environ, masking)
        home = backup_home(settings, secrets)
        self._providers = providers_of(settings, descriptions, secrets)
        deployments = SqlDeployments(
            self._database, lambda: deployments_in(home, repository), repository=repository
        )
        self.services = Services(
            deployments=deployments,
            executions=SqlExecutions(self._database),
            catalog=SqlCatalog(self._database),
            manifests=RepositoryManifests(home),
            leases=_leases(settings, self._database, "leases"),
            policies=SqlPolicies(self._database),
            schedulers=_leases(settings, self._database, "schedulers"),
            messenger=WebMessenger(),
            clock=SystemClock(),
            descriptions=descriptions,
            provider=self._providers.get,
            live=lambda deployment: _live(deployment, deployments, secrets),
            guard=self._take_guard,
            pause=time.sleep,
            random_text=_random_text,
            repositories=lambda: repository_access(settings, masking),
            proofs_dir=str(settings.proofs),
            host=settings.host if self._database.is_shared else "",
            masking=masking,
        )

    def close(self) -> None:
        """Release everything."""
        for guard in self._guards:
            guard.dismiss()
        self._providers.close()
        self._database.close()

    def _take_guard(self) -> Guard:
        if self._ready_guards:
            return self._ready_guards.pop()
        guard = self._start_guard(self._settings)
        self._guards.append(guard)
        return guard


def providers_of(
    settings: Settings, descriptions: Sequence[Description], secret: Callable[[str], str]
) -> Providers:
    """Return what makes the providers that are described, each with its place below the home.

    *secret* gives the value of a secret that a repository's URL names.
    """
    return Providers(
        descriptions,
        {
            description.name: ProviderSettings(
                state_dir=str(settings.home / "providers" / description.name),
                repository=settings.default_repository,
                keys_file=str(settings.keys_file),
                secret=secret,
            )
            for description in descriptions
        },
    )


def _leases(settings: Settings, database: Database, kind: str) -> Leases:
    """Return leases that hold wherever the database is shared."""
    if not database.is_shared:
        return FileLeases(settings.home / kind)
    from quiesce.stores.advisory_leases import AdvisoryLeases  # few have such a database

    return AdvisoryLeases(database, kind)


def repository_access(settings: Settings, masking: Masking) -> RepositoryAccess:
    """Return what makes and opens repositories with the keys and secrets of the home."""
    from quiesce.app.repository_access import RepositoryAccess  # large, and few commands need it

    require_trusted_home(settings.home)
    secrets = Secrets(settings.home / SECRETS_FILE, os.environ, masking)
    return RepositoryAccess(backup_home(settings, secrets))


def backup_home(settings: Settings, secret: Callable[[str], str]) -> BackupHome:
    """Return what opens repositories, and where it is noted what interrupted backups have stored."""
    return BackupHome(keyring=Keyring(settings.keys_file), secret=secret, drafts=settings.home / DRAFTS)


def start_guard(
    settings: Settings, module: str = "quiesce.cli.guard", first: Sequence[str] = ()
) -> GuardProcess:
    """Start *module* as a guard process; it gets ready while the caller does other things.

    *first* is what it is told before anything else.
    """
    require_trusted_home(settings.home)
    # not as arguments: everybody can read those, and the URL of a database may hold a password
    environment = {
        **os.environ,
        "QUIESCE_HOME": str(settings.home),
        "QUIESCE_DATABASE": settings.database_url,
        "QUIESCE_HOST": settings.host,
    }
    return GuardProcess(own_command(module), settings.home / "guard.log", environment, first)


def require_trusted_home(home: Path) -> None:
    """Make *home* where it is missing, and refuse it when somebody else could have changed what is in it.

    Raises:
        UntrustedPathError: naming the directory, at or above *home*, whose owner or mode is wrong.
    """
    with suppress(OSError):  # the database says what is wrong
        make_private_directory(home)
    require_trusted(
        home,
        hint="Correct it with chown and chmod go-w, or set QUIESCE_HOME to a directory that is yours alone.",
    )


def examine_state(settings: Settings) -> Sequence[Finding]:
    """Tell of everything that is ours whether somebody else could have changed it; changes nothing."""
    home, database = settings.home, file_of(settings.database_url)
    ours = {"home": (home, False)}
    if database is not None:
        ours["directory of the database"] = (database.parent, False)
        ours["database"] = (database, False)
    private = (SECRETS_FILE, KEYS_FILE, USERS_FILE)
    ours |= {name: (home / name, True) for name in private if os.path.lexists(home / name)}
    return [_trust_finding(what, path, is_private) for what, (path, is_private) in ours.items()]


def _trust_finding(check: str, path: Path, private: bool) -> Finding:
    there = next(each for each in (path, *path.parents) if os.path.lexists(each))
    fault = find_fault(there, private=private)
    if fault is None:
        return Finding(check=check, passed=True, detail=f"nobody else can change {path}")
    return Finding(check=check, passed=False, detail=f"{path}: {fault.reason}", remedy=fault.remedy)


class Secrets:
    """Values for ``get_secret``: the environment (``QUIESCE_SECRET_<NAME>``), else a private YAML file."""

    def __init__(self, path: Path, environment: Mapping[str, str], masking: Masking) -> None:
        """Read secrets when they are asked for; *masking* is told each before it is given."""
        self._masking = masking
        self._path = path
        self._environment = environment
        self._known: Mapping[str, object] | None = None

    def __call__(self, name: str) -> str:
        """Return the secret called *name*; from now on it is masked."""
        secret = self._value(name)
        self._masking.add(secret)
        return secret

    def _value(self, name: str) -> str:
        variable = "QUIESCE_SECRET_" + "".join(c if c.isalnum() else "_" for c in name).upper()
        if variable in self._environment:
            return self._environment[variable]
        if self._known is None:
            self._known = self._read()
        if name not in self._known:
            raise NonRecoverableError(
                f"there is no secret {name!r}",
                hint=f"Set {variable}, or put it into {self._path} (mode 0600).",
            )
        return str(self._known[name])

    def _read(self) -> Mapping[str, object]:
        if not os.path.lexists(self._path):
            return {}
        require_trusted(
            self._path, private=True, hint=f"Make it yours alone: chown, and chmod 600 {self._path}"
        )
        import yaml

        try:
            content = yaml.safe_load(read_regular(self._path.resolve(), at_most=_SECRETS_BYTES))
        except (OSError, ValueError, RecursionError, yaml.YAMLError):
            # what it holds is not repeated
            raise NonRecoverableError(
                f"{self._path} cannot be read", hint="It must be a YAML mapping of names to values."
            ) from None
        return content if isinstance(content, dict) else {}


def _live(deployment: Deployment, deployments: Deployments, secrets: Callable[[str], str]) -> LiveDeployment:
    from quiesce.blueprint import EvaluatedDeployment  # large, and not every command runs operations

    return EvaluatedDeployment(deployment, deployments, secrets)


def _random_text(length: int) -> str:
    return "".join(random_source.choice(string.ascii_lowercase + string.digits) for _ in range(length))

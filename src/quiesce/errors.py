"""Every error that quiesce shows, typed by what the operator can do next.

The class holds what is constant (code, exit status, hint), the instance what is particular. Codes are
documented in ``docs/errors.md`` and never reused. Anything that is not a `QuiesceError` is a bug.
"""

from __future__ import annotations

import enum
from collections.abc import Iterable


class ExitStatus(enum.IntEnum):
    """What the process's exit status tells a script; documented in ``docs/exit-statuses.md``."""

    OK = 0
    #: a bug in quiesce: the traceback is shown
    INTERNAL = 1
    #: the command line or a parameter is wrong; nothing was run
    USAGE = 2
    #: the blueprint or its inputs are wrong; nothing was run
    BLUEPRINT = 3
    #: the deployment, execution or restore point named does not exist; nothing was run
    NOT_FOUND = 4
    #: refused before anything was touched: another execution runs, or a provider cannot do it
    REFUSED = 5
    #: the execution failed; everything that was frozen is thawed, everything that was stopped is started
    FAILED = 6
    #: something may still be frozen or left stopped: run ``quiesce recover``
    FROZEN = 7
    #: a restore point was made, but its consistency is lower than `min_consistency`
    NOT_CONSISTENT = 8
    #: the execution was cancelled; everything that was frozen is thawed
    CANCELLED = 9
    #: the database or its disk cannot be used; see the message
    STORE = 10
    #: a stored backup is damaged
    DAMAGED = 11


class QuiesceError(Exception):
    """Base of all errors that are shown to an operator without a traceback."""

    code = "error"
    exit_status = ExitStatus.FAILED
    hint = ""

    def __init__(self, message: str, *, hint: str | None = None) -> None:
        super().__init__(message)
        if hint is not None:
            self.hint = hint


class UsageError(QuiesceError):
    """A parameter or an option is not one we know, or has a value we do not accept."""

    code = "usage"
    exit_status = ExitStatus.USAGE


class UnknownNameError(UsageError):
    """Something was named that does not exist; the message lists what does."""

    code = "unknown-name"
    exit_status = ExitStatus.NOT_FOUND

    def __init__(self, kind: str, name: str, known: Iterable[str], *, hint: str | None = None) -> None:
        names = sorted(known)
        shown = ", ".join(names[:20]) + (f" and {len(names) - 20} more" if len(names) > 20 else "")
        import difflib  # costs as much as everything else here, and is only for errors

        alike = difflib.get_close_matches(name, names, n=1)
        meant = f" (did you mean {alike[0]!r}?)" if alike else ""
        super().__init__(f"there is no {kind} {name!r}{meant}; there is: {shown or 'none'}", hint=hint)
        self.known = names


class BlueprintError(QuiesceError):
    """The blueprint cannot be understood."""

    code = "blueprint"
    exit_status = ExitStatus.BLUEPRINT


class PlanError(QuiesceError):
    """What was asked cannot be planned, so nothing was touched."""

    code = "plan"
    exit_status = ExitStatus.REFUSED


class WindowTooLongError(PlanError):
    """Things would be frozen for longer than is allowed."""

    code = "window-too-long"


class ExecutionFailedError(QuiesceError):
    """An execution failed; everything that was frozen is thawed. *code* is that of its cause."""

    code = "failed"

    def __init__(
        self, message: str, *, code: str, hint: str, exit_status: ExitStatus = ExitStatus.FAILED
    ) -> None:
        super().__init__(message, hint=hint)
        self.code = code
        self.exit_status = exit_status


class NotThawedError(QuiesceError):
    """Something may still be frozen, or left stopped."""

    code = "not-thawed"
    exit_status = ExitStatus.FROZEN
    hint = "A guard keeps trying. Look at the nodes, then: quiesce recover"


class CancelledError(QuiesceError):
    """An execution was cancelled; everything that was frozen is thawed."""

    code = "cancelled"
    exit_status = ExitStatus.CANCELLED


class UnfinishedError(QuiesceError):
    """An earlier execution was interrupted, and continuing regardless could do harm."""

    code = "unfinished"
    exit_status = ExitStatus.REFUSED


class OtherHostError(QuiesceError):
    """It belongs to another machine, whose paths, processes and devices are meant."""

    code = "other-host"
    exit_status = ExitStatus.REFUSED


class NotConsistentError(QuiesceError):
    """The restore point's consistency is lower than `min_consistency`."""

    code = "not-consistent"
    exit_status = ExitStatus.NOT_CONSISTENT
    hint = "See 'quiesce backups show' for the reason, or lower min_consistency."


class BusyError(QuiesceError):
    """Another execution runs on this deployment."""

    code = "busy"
    exit_status = ExitStatus.REFUSED
    hint = "Wait for it, or cancel it: quiesce executions cancel ID"


class SupersededError(QuiesceError):
    """Another process has taken this execution over, so this one may not write to its journal any more."""

    code = "superseded"
    exit_status = ExitStatus.FAILED
    hint = "See the execution's events for who took over and why."


class PlanChangedError(QuiesceError):
    """The stored plan is not the one that the journal was written for."""

    code = "plan-changed"
    exit_status = ExitStatus.REFUSED
    hint = "Settle what it owes with 'quiesce recover', then start again."


class StoreError(QuiesceError):
    """The database cannot be used."""

    code = "store"
    exit_status = ExitStatus.STORE


class NewerStoreError(StoreError):
    """The database was written by a newer version of quiesce."""

    code = "store-newer"
    hint = "Upgrade quiesce, or point QUIESCE_HOME to another directory."


class DamagedPlanError(StoreError):
    """The stored plan of an execution is not what was written."""

    code = "plan-damaged"
    hint = (
        "Bring the database back from its backup. Or look at what it names, bring that in order by hand, "
        "and end it: quiesce executions cancel ID --write-off"
    )


class GuardError(QuiesceError):
    """The process that thaws when this one dies is not there."""

    code = "guard"
    exit_status = ExitStatus.FAILED
    hint = "Look at guard.log in QUIESCE_HOME, then run it again; a system short of memory ends processes."


class DamagedError(QuiesceError):
    """A stored backup is not what its manifest says."""

    code = "damaged"
    exit_status = ExitStatus.DAMAGED
    hint = "Restore from another restore point; 'quiesce backups list' shows them."


class ProofFailedError(QuiesceError):
    """A restore point was restored on trial, and the operator's check did not accept it."""

    code = "proof-failed"
    hint = "Look at what the check says, and try an older one: quiesce backups prove DEPLOYMENT NAME."


class TargetError(QuiesceError):
    """What is to be replaced or written to is not fit for it; *code* tells a reason that is the only one."""

    code = "target"
    exit_status = ExitStatus.REFUSED

    def __init__(self, message: str, *, code: str, hint: str) -> None:
        super().__init__(message, hint=hint)
        self.code = code


class MassRemovalError(QuiesceError):
    """So much would be removed at once that it is more likely a mistake than meant; nothing was."""

    code = "mass-removal"
    exit_status = ExitStatus.REFUSED
    hint = "Look at what would go (without --yes). If it is meant: --most 100"


class TamperedError(QuiesceError):
    """Something in a repository is gone or has changed that nobody here has removed or written."""

    code = "tampered"
    exit_status = ExitStatus.DAMAGED
    hint = "Find out who did it. If it was meant, say so: quiesce repository check --tamper --accept"


class ProviderError(QuiesceError):
    """An operation failed on its platform.

    Raised by providers only. *retryable* tells the engine whether a retry may help.
    """

    code = "operation"
    retryable = False

    def __init__(
        self,
        message: str,
        *,
        hint: str | None = None,
        retry_after_s: float | None = None,
        own: bool = False,
    ) -> None:
        super().__init__(message, hint=hint)
        #: when the platform (or a script) says when to retry; else the engine's own interval counts
        self.retry_after_s = retry_after_s
        #: whether a blueprint's own implementation says so, having run: for a check, that something is wrong
        self.own = own


class RecoverableError(ProviderError):
    """A retry may help: a lost connection, a rate limit, a busy object."""

    code = "recoverable"
    retryable = True


class NonRecoverableError(ProviderError):
    """A retry cannot help."""

    code = "non-recoverable"


class OperationTimeoutError(ProviderError):
    """The operation did not answer within time. It may have taken effect all the same."""

    code = "timeout"
    retryable = True
    hint = "Look at the node; its effect may come late. A freeze that timed out is thawed like any other."


class CannotFreezeError(ProviderError):
    """This node has no way to be frozen now (no agent, powered off), and nothing was frozen."""

    code = "cannot-freeze"
    hint = "Install the guest agent, bind a hook, or accept a lower consistency."


class NotFrozenError(ProviderError):
    """The node thawed by itself before the cut was over, so the cut cannot be trusted."""

    code = "not-frozen"


class ResourceNotFoundError(ProviderError):
    """The resource that the node stands for, or the object to restore from, is not there."""

    code = "resource-not-found"


class ForeignObjectError(ProviderError):
    """An object of the name we need exists and is not ours; it was not touched."""

    code = "foreign-object"
    hint = "Choose another snapshot_name, or remove that object yourself."


class UnsupportedError(ProviderError):
    """The platform cannot do this; detected before anything was changed."""

    code = "unsupported"
    exit_status = ExitStatus.REFUSED


class DamagedArtifactError(ProviderError):
    """What is stored is not what was written; nothing was restored from it."""

    code = "damaged-artifact"
    exit_status = ExitStatus.DAMAGED
    hint = "Restore from another restore point; 'quiesce backups list' shows them."


class StorageError(ProviderError):
    """What keeps a repository answered something unexpected."""

    code = "storage"


class ObjectNotFoundError(StorageError):
    """There is no object of that name in the storage."""

    code = "object-not-found"


class ObjectExistsError(StorageError):
    """There is an object of that name already, and it was not to be replaced."""

    code = "object-exists"


class ObjectLockedError(StorageError):
    """The object may not be replaced or removed yet: its storage is write once, read many (WORM)."""

    code = "object-locked"
    hint = "Wait until its retention is over; the storage's administrator says when that is."


class StorageDeniedError(StorageError):
    """The storage refuses these credentials, or what was asked with them."""

    code = "storage-denied"
    hint = "Correct the credentials, or give them the right that the message names."


class StorageFullError(StorageError):
    """There is no room in the storage, or the quota is used up."""

    code = "storage-full"
    hint = "Make room there, or choose a repository elsewhere."


class UnreachableError(StorageError):
    """The repository is not there, so nothing can be said of what it holds; nothing was touched."""

    code = "unreachable"
    exit_status = ExitStatus.REFUSED
    hint = "Mount it, or correct its path; the restore points in it are not counted as damaged."


class StorageUnavailableError(UnreachableError):
    """The storage did not answer, or is busy; what was asked may have taken effect all the same."""

    code = "storage-unavailable"
    exit_status = ExitStatus.FAILED
    retryable = True
    hint = "Look at the network and at the storage's own state, then run it again."


class WrongKeyError(StorageError):
    """No key that was given opens the repository."""

    code = "wrong-key"
    exit_status = ExitStatus.REFUSED
    hint = "Give the passphrase or key file that it was made with, or one that was added since."


class TreeChangedError(RecoverableError):
    """A file or directory was replaced while it was worked on; what took its place was not touched."""

    code = "tree-changed"
    hint = "Find out who renames files there meanwhile, then run it again."


class MountInsideError(NonRecoverableError):
    """Another file system, or another directory, is mounted inside a tree; it was not touched."""

    code = "mount-inside"
    hint = "Unmount it, or declare what is mounted there as a node of its own."


class InUseError(NonRecoverableError):
    """Programs use the data that are to be replaced; they would go on in what was there before."""

    code = "in-use"
    exit_status = ExitStatus.REFUSED
    hint = "Stop them and run it again, declare how they are stopped and started, or give allow_in_use=true."


class ProbeFailedError(NonRecoverableError):
    """What was restored runs, and does not answer as it should."""

    code = "probe-failed"


class NoRoomError(NonRecoverableError):
    """What is to be written does not fit beside what is there; nothing was touched."""

    code = "space"
    exit_status = ExitStatus.REFUSED
    hint = "Make room; what an earlier restore has left goes with --forget-undo."


class UntrustedPathError(NonRecoverableError):
    """Somebody else could have made or replaced what is at a path, so it was not used."""

    code = "untrusted-path"
    exit_status = ExitStatus.REFUSED
    hint = "Give it to root (or to the user that runs quiesce), with no write permission for others."


class UnsafeNameError(NonRecoverableError):
    """A stored name leads elsewhere than into the directory that it is to be restored to."""

    code = "unsafe-name"
    hint = "Somebody changed the backup. Restore from another restore point."

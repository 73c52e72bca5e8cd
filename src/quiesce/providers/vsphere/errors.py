"""Faults of vSphere and of the way to it, as our errors: what to do next, and whether to retry."""

from __future__ import annotations

import contextlib
import http.client
import ssl
from collections.abc import Iterator
from typing import Final
from xml.parsers.expat import ExpatError

from quiesce.errors import (
    CannotFreezeError,
    NonRecoverableError,
    OperationTimeoutError,
    ProviderError,
    RecoverableError,
    ResourceNotFoundError,
    UnsupportedError,
)
from quiesce.provider_kit.answers import AnswerReader

understood: Final = AnswerReader(
    platform="vSphere",
    hint="Look at what stands between this machine and the vCenter, and at host in connection_config.",
).understood

#: faults that go away by themselves, or with the next look at the machine's state
_RETRYABLE: Final = {
    "CannotAccessFile": "",
    "ConcurrentAccess": "",
    "FileLocked": "another machine or backup product may hold the file",
    "GenericVmConfigFault": "",
    "HostCommunication": "the host does not answer vCenter",
    "HostNotConnected": "the host does not answer vCenter",
    "HostNotReachable": "the host does not answer vCenter",
    "InvalidPowerState": "its power state has changed meanwhile",
    "InvalidState": "its state has changed meanwhile",
    "NotAuthenticated": "the session has ended",
    "RequestCanceled": "somebody cancelled the task",
    "ResourceInUse": "",
    "TaskInProgress": "another task runs on it",
    "TimedOut": "",
    "Timedout": "",
    "TooManyConsecutiveOverrides": "",
    "VAppTaskInProgress": "another task runs on its vApp",
    "SystemError": "",
    "HostConnectFault": "",
}

#: what the operator has to change before asking again, by fault
_PERMANENT: Final = {
    "InvalidLogin": "Check username and password in connection_config.",
    "NoPermission": "Give this login the privilege that the message names; 'quiesce doctor' lists them.",
    "InsufficientResourcesFault": "Make room on the host or cluster, then try again.",
    "NoDiskSpace": "Make room on the datastore, then try again.",
    "NotEnoughLicenses": "This vSphere edition does not include it.",
    "RestrictedVersion": "This vSphere edition does not include it.",
    "MethodDisabled": "Another product has switched this operation off for the machine.",
    "DuplicateName": "Rename or remove the object that has the name.",
    "SnapshotFault": "See the machine's events in vSphere.",
    "InvalidSnapshotFormat": "Consolidate the machine's disks, then try again.",
    "TooManySnapshotLevels": "Remove old snapshots: vSphere allows 32 in a chain.",
}

_KINDS: Final[dict[type[ProviderError], frozenset[str]]] = {
    CannotFreezeError: frozenset(
        {"ApplicationQuiesceFault", "FilesystemQuiesceFault", "QuarantineModeFault", "ToolsUnavailable"}
    ),
    UnsupportedError: frozenset(
        {
            "MemorySnapshotOnIndependentDisk",
            "MethodNotFound",
            "MultipleSnapshotsNotSupported",
            "NotImplemented",
            "NotSupported",
            "SnapshotIncompatibleDeviceInVm",
            "SnapshotNotAllowed",
        }
    ),
    ResourceNotFoundError: frozenset({"FileNotFound", "ManagedObjectNotFound", "NotFound"}),
}


@contextlib.contextmanager
def translated(what: str) -> Iterator[None]:
    """Turn every error of the SDK, of HTTP and of the network into ours; *what* was being done."""
    try:
        yield
    except ProviderError:
        raise
    except (OSError, http.client.HTTPException, ExpatError) as error:
        raise of_connection(error, what) from error
    except Exception as error:
        if _is_fault(error):
            raise of_fault(error, what) from error
        if not _arose_in_sdk(error):
            raise
        raise NonRecoverableError(
            f"cannot {what}: pyVmomi does not understand the answer ({type(error).__name__}: {error})",
            hint="Install a pyvmomi that knows this version of vCenter.",
        ) from error


def of_fault(fault: BaseException, what: str) -> ProviderError:
    """Return our error for a fault of the API or of a task.

    A fault that is none of those known counts by its nearest base class; when that is unknown too, asking
    again is taken not to help.
    """
    message = f"cannot {what}: {_words(fault)}"
    if _did_not_quiesce(fault):
        return CannotFreezeError(message)
    for name in _lineage(fault):
        error = _known(name, message)
        if error is not None:
            return error
    return NonRecoverableError(message, hint="See the machine's tasks and events in vSphere.")


def of_connection(error: BaseException, what: str) -> ProviderError:
    """Return our error for a connection that could not be made, was lost, or answered nonsense."""
    if isinstance(error, ssl.SSLCertVerificationError):
        return NonRecoverableError(
            f"cannot {what}: the server's certificate is not trusted ({error.verify_message})",
            hint="Give its authority as certificate_path, or set allow_insecure for this endpoint only.",
        )
    if isinstance(error, TimeoutError):
        return OperationTimeoutError(f"cannot {what}: no answer in time")
    shown = str(error) or type(error).__name__
    return RecoverableError(f"cannot {what}: {shown}", hint="Check that the vCenter can be reached.")


def _known(name: str, message: str) -> ProviderError | None:
    if name in _RETRYABLE:
        return RecoverableError(f"{message} ({_RETRYABLE[name]})" if _RETRYABLE[name] else message)
    if name in _PERMANENT:
        return NonRecoverableError(message, hint=_PERMANENT[name])
    kind = next((kind for kind, names in _KINDS.items() if name in names), None)
    return kind(message) if kind is not None else None


def _did_not_quiesce(fault: BaseException) -> bool:
    """Tell whether the guest did not quiesce: that comes as any fault, and then only its text says so."""
    messages = getattr(fault, "faultMessage", None) or ()
    texts = [getattr(fault, "msg", ""), *(f"{one.key} {one.message}" for one in messages)]
    return any("quiesc" in str(text).lower() for text in texts)


def _is_fault(error: BaseException) -> bool:
    return "MethodFault" in _lineage(error)


def _arose_in_sdk(error: BaseException) -> bool:
    trace = error.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    module = str(trace.tb_frame.f_globals.get("__name__", "")) if trace is not None else ""
    return module.partition(".")[0] == "pyVmomi"


def _lineage(fault: BaseException) -> list[str]:
    """Return the class names from the fault up, without their packages."""
    return [kind.__name__.rpartition(".")[2] for kind in type(fault).__mro__]


def _words(fault: BaseException) -> str:
    name = _lineage(fault)[0]
    said = str(getattr(fault, "msg", "") or "").strip()
    details = [str(getattr(one, "message", "")) for one in getattr(fault, "faultMessage", None) or ()]
    missing = getattr(fault, "privilegeId", None)
    extra = [*filter(None, details), *([f"privilege {missing}"] if missing else [])]
    return " ".join([name, *([f"({said})"] if said and said != name else []), *extra])

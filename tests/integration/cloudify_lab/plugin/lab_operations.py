"""Operations for trying workflows out in Cloudify's engine: files stand for what is frozen or made.

A node's property ``behaves`` says what goes wrong: ``{fs_prepare: fail}``. State lies below ``LAB_DIR``.
"""

import ctypes
import json
import os
import threading
import time
from pathlib import Path

from cloudify.decorators import operation
from cloudify.exceptions import NonRecoverableError, OperationRetry, RecoverableError
from cloudify.workflows import workflow_api


def _lab():
    return Path(os.environ["LAB_DIR"])


def _note(ctx):
    with (_lab() / "log").open("a") as log:
        log.write(f"{ctx.instance.id} {ctx.operation.name}\n")
    if ctx.operation.name.endswith("fs_prepare"):
        with (_lab() / "executors").open("a") as log:
            log.write(f"{ctx.instance.id} {os.environ.get('LAB_EXECUTOR', 'cfy')}\n")


def _behave(ctx):
    behaves = (ctx.node.properties.get("behaves") or {}).get(ctx.operation.name.rpartition(".")[2])
    if behaves == "fail":
        raise NonRecoverableError("as asked")
    if behaves == "stumble" and ctx.operation.retry_number == 0:
        raise RuntimeError("at first")
    if behaves == "poll" and ctx.operation.retry_number < 3:
        raise OperationRetry("not yet", retry_after=15)
    if str(behaves).startswith("meet "):
        _meet(ctx, int(behaves.split()[1]))
    if behaves == "poll soon" and ctx.operation.retry_number < 2:
        raise OperationRetry("not yet", retry_after=0.1)
    if behaves == "recover" and ctx.operation.retry_number < 2:
        raise RecoverableError("in a moment", retry_after=0.1)
    if behaves == "late":
        time.sleep(5)
    if behaves == "slow":
        time.sleep(0.1)
    if behaves == "hang":
        time.sleep(120)
    if behaves == "cancel":
        workflow_api.set_cancel_request()
    if behaves == "die":
        workflow = ctypes.c_ulong(threading.main_thread().ident)
        ctypes.pythonapi.PyThreadState_SetAsyncExc(workflow, ctypes.py_object(SystemExit))
        time.sleep(3)
    if behaves == "wait":
        (_lab() / "waiting").touch()
        ends = time.monotonic() + 60
        while not (_lab() / "interrupted").exists() and time.monotonic() < ends:
            time.sleep(0.05)
        time.sleep(3)


def _meet(ctx, number):
    """Wait until as many instances are within the same operation."""
    name = f"met-{ctx.operation.name.rpartition('.')[2]}"
    (_lab() / f"{name}-{ctx.instance.id}").touch()
    ends = time.monotonic() + 60
    while len(list(_lab().glob(f"{name}-*"))) < number:
        if time.monotonic() > ends:
            raise NonRecoverableError("the others did not come")
        time.sleep(0.05)


@operation
def freeze(ctx, **_):
    _note(ctx)
    (_lab() / f"frozen-{ctx.instance.id}").touch()
    _behave(ctx)


@operation
def thaw(ctx, **_):
    _note(ctx)
    _behave(ctx)
    (_lab() / f"frozen-{ctx.instance.id}").unlink(missing_ok=True)


@operation
def create(ctx, snapshot_name, **_):
    _note(ctx)
    _behave(ctx)
    (_lab() / f"made-{ctx.instance.id}-{snapshot_name}").touch()


@operation
def remember(ctx, snapshot_name, **_):
    ctx.instance.runtime_properties["remembered"] = snapshot_name


@operation
def delete(ctx, snapshot_name, **_):
    _note(ctx)
    _behave(ctx)
    (_lab() / f"made-{ctx.instance.id}-{snapshot_name}").unlink(missing_ok=True)


@operation
def apply(ctx, **_):
    _note(ctx)
    _behave(ctx)


@operation
def stop(ctx, **_):
    _note(ctx)
    (_lab() / f"stopped-{ctx.instance.id}").touch()
    _behave(ctx)


@operation
def start(ctx, **_):
    _note(ctx)
    _behave(ctx)
    (_lab() / f"stopped-{ctx.instance.id}").unlink(missing_ok=True)


@operation
def probe(ctx, **_):
    _note(ctx)
    _behave(ctx)


@operation
def show(ctx, **kwargs):
    _note(ctx)
    told = {key: value for key, value in sorted(kwargs.items()) if key != "ctx"}
    ctx.logger.info("told %s", told)


@operation
def record(ctx, **kwargs):
    """Note the call with all that it was given, for comparing, and behave."""
    given = {key: value for key, value in kwargs.items() if key != "ctx"}
    call = {"instance": ctx.instance.id, "operation": ctx.operation.name, "given": given}
    with (_lab() / "calls").open("a") as log:
        log.write(json.dumps(call) + "\n")
    _behave(ctx)


@operation
def work(**_):
    """Take as long as a real operation does."""
    time.sleep(0.05)

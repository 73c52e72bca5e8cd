"""A process that begins a backup and waits to be killed: child.py GUEST URI REPOSITORY SCRATCH frozen|cut."""

from __future__ import annotations

import sys
import time
from pathlib import Path

from quiesce.model.operation import Operation
from quiesce.ports import ProviderSettings
from quiesce.providers.libvirt.provider import LibvirtProvider
from quiesce.testing import RecordingContext, Subject


def main() -> None:
    """Do what the arguments say."""
    name, uri, repository, scratch, until = sys.argv[1:]
    subject = Subject()
    subject.instance = f"{name}_ab12cd"
    subject.node_type = "quiesce.nodes.libvirt.Domain"
    subject.properties = {"libvirt_auth": uri, "resource_id": name, "scratch_dir": scratch}
    provider = LibvirtProvider(
        ProviderSettings(
            state_dir=repository, repository=repository, keys_file=str(Path(repository).parent / "keys")
        )
    )
    steps = {"frozen": [Operation.FREEZE], "cut": [Operation.SNAPSHOT]}[until]
    for operation in steps:
        call = subject.call(operation, full=True, execution="exec-one", inputs={"backup_mode": "incremental"})
        provider.perform(call, RecordingContext())
    print(until, flush=True)
    time.sleep(600)


main()

"""A node of a Galera cluster is neither held nor saved: the others would wait for it."""

from __future__ import annotations

import contextlib
import socket
from pathlib import Path

import pytest

pytest.importorskip("pymysql", reason="PyMySQL is not installed (extra mariadb-server)")

from tests.integration.test_mariadb_servers import Deployment, running

from quiesce.errors import NonRecoverableError
from quiesce.model.operation import Operation
from quiesce.testing.contexts import RecordingContext

PROVIDER = Path("/usr/lib/galera/libgalera_smm.so")

pytestmark = [
    pytest.mark.timeout(300),
    pytest.mark.skipif(not PROVIDER.exists(), reason="Galera is not installed (Debian's package galera-4)"),
]


def test_a_node_of_a_cluster_is_refused_and_goes_on() -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    settings = [
        "--wsrep-on=ON",
        f"--wsrep-provider={PROVIDER}",
        "--wsrep-cluster-address=gcomm://",
        "--wsrep-node-address=127.0.0.1",
        f"--wsrep-provider-options=gmcast.listen_addr=tcp://127.0.0.1:{port}",
        "--binlog-format=ROW",
    ]
    with running(settings=settings) as (server, root):
        saved = Deployment.of(root, str(server.socket), data_directory=str(server.data), hold=False)
        held = Deployment.of(root, str(server.socket))
        with contextlib.closing(saved.provider_now), contextlib.closing(held.provider_now):
            with pytest.raises(NonRecoverableError, match="node of a Galera cluster"):
                saved.do(Operation.PREPARE)
            held.do(Operation.PREPARE)
            with pytest.raises(NonRecoverableError, match="node of a Galera cluster"):
                held.freeze()
            assert held.is_frozen() is False
            for deployment in (saved, held):
                call = deployment.call(Operation.MEASURE)
                found = deployment.provider_now.doctor(call, RecordingContext())
                assert "node of a Galera cluster" in next(each.detail for each in found if not each.passed)
        server.ask("INSERT INTO shop.ledger VALUES (1)")

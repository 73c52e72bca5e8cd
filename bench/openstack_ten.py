"""Ten servers and ten volumes on the OpenStack lab: one cut through all of them, beside the SDK one by one.

    QUIESCE_OPENSTACK_LAB=DIR python bench/openstack_ten.py [--servers N] [--volumes N]

Prints the window (first cut begun to last cut over), the total time and the number of requests of both, and
what the goals compare: window to the slowest cut, requests to 3 + 2 for each object + 1 for each poll.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import threading
import time
import warnings
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

warnings.simplefilter("ignore")
ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT / "tests" / "labs" / "openstack"))

from lab import Lab, client_config, lab_directory, until  # noqa: E402

from quiesce.model.call import Call  # noqa: E402
from quiesce.model.ids import BackupName, DeploymentName, ExecutionId, InstanceId, NodeId, StepId  # noqa: E402
from quiesce.model.operation import Operation  # noqa: E402
from quiesce.model.parameters import Parameters  # noqa: E402
from quiesce.model.topology import Node  # noqa: E402
from quiesce.providers.openstack.client import SessionClient  # noqa: E402
from quiesce.providers.openstack.provider import OpenStackProvider  # noqa: E402
from quiesce.testing import RecordingContext  # noqa: E402


@dataclass
class Figures:
    """What one way of doing it took."""

    window_s: float = 0.0
    total_s: float = 0.0
    cuts_s: list[float] = field(default_factory=list)
    requests: Counter[str] = field(default_factory=Counter)

    @property
    def slowest_s(self) -> float:
        """The slowest single cut."""
        return max(self.cuts_s)


def main() -> None:
    """Make the deployment, measure both ways, print, clean up."""
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--servers", type=int, default=10)
    options.add_argument("--volumes", type=int, default=10)
    options.add_argument("--user", default="demo", help="a user of the lab; its project is emptied")
    asked = options.parse_args()
    directory = lab_directory()
    if directory is None:
        raise SystemExit("needs the OpenStack lab: make lab-openstack")
    lab = Lab(directory, asked.user)
    lab.wipe()
    servers = make_servers(lab, asked.servers)
    volumes = [lab.volume(f"bench-{number}") for number in range(asked.volumes)]
    ours = measure_quiesce(servers, volumes, asked.user)
    lab_forget(lab)
    plain = measure_sdk(lab, servers, volumes)
    show(ours, plain, len(servers) + len(volumes))
    lab.wipe()


def make_servers(lab: Lab, count: int) -> list[str]:
    """Boot servers from an image of 16 MiB with nothing to run: only their disks matter."""
    with tempfile.NamedTemporaryFile() as file:
        file.write(b"\x42" * (4 << 20) + bytes(12 << 20))
        file.flush()
        image = lab.cloud.create_image(
            "bench",
            filename=file.name,
            disk_format="raw",
            container_format="bare",
            wait=True,
            use_import=False,
        )
    flavor = lab.cloud.compute.find_flavor("tiny")
    made = [
        lab.cloud.compute.create_server(
            name=f"bench-{number}", image_id=image.id, flavor_id=flavor.id, networks="none"
        ).id
        for number in range(count)
    ]
    until(lambda: all(lab.server_status(server) == "ACTIVE" for server in made), 600)
    return made


def lab_forget(lab: Lab) -> None:
    """Remove the points of the first way."""
    for image in lab.cloud.image.images(owner=lab.cloud.current_project_id):
        if image.name.startswith("server-"):
            lab.cloud.image.delete_image(image.id)
    storage = lab.cloud.block_storage
    for snapshot in storage.snapshots():
        storage.delete_snapshot(snapshot.id)
    until(lambda: not list(storage.snapshots()))


# -- quiesce ---------------------------------------------------------------------------------------------


def measure_quiesce(servers: list[str], volumes: list[str], user: str) -> Figures:
    """Cut everything side by side, then wait for the copies, as the engine does."""
    clients: list[SessionClient] = []

    def connect(credentials: Any) -> SessionClient:
        clients.append(SessionClient(credentials))
        return clients[-1]

    provider = OpenStackProvider(connect=connect)
    figures = Figures()
    begun = time.monotonic()
    cuts = together(
        [
            (lambda n=name, k=kind: timed(provider, k, n, user, figures))
            for kind, name in nodes(servers, volumes)
        ]
    )
    figures.window_s = time.monotonic() - begun
    together(
        [
            (lambda c=cut: provider.perform(call(Operation.COPY, c[0], c[1], user, c[2]), context()))
            for cut in cuts
            if cut[0] == "Server"
        ]
    )
    figures.total_s = time.monotonic() - begun
    figures.requests = clients[0].calls
    provider.close()
    return figures


def nodes(servers: list[str], volumes: list[str]) -> list[tuple[str, str]]:
    return [("Server", name) for name in servers] + [("Volume", name) for name in volumes]


def timed(
    provider: OpenStackProvider, kind: str, name: str, user: str, figures: Figures
) -> tuple[str, str, Any]:
    begun = time.monotonic()
    outcome = provider.perform(call(Operation.SNAPSHOT, kind, name, user), context())
    figures.cuts_s.append(time.monotonic() - begun)
    return kind, name, outcome.artifact


def call(operation: Operation, kind: str, name: str, user: str, artifact: Any = None) -> Call:
    type_ = f"cloudify.nodes.openstack.{kind}"
    return Call(
        operation=operation,
        interface="",
        function="",
        deployment=DeploymentName("bench"),
        execution=ExecutionId("bench"),
        step=StepId(name),
        attempt=1,
        instance=InstanceId(name),
        node=Node(id=NodeId(name), type=type_, type_hierarchy=(type_,)),
        properties={"resource_id": name, "client_config": client_config(user)},
        parameters=Parameters(),
        point=BackupName("bench"),
        artifact=artifact,
    )


def context() -> RecordingContext:
    return RecordingContext(timeout_s=900)


def together(actions: list[Callable[[], Any]]) -> list[Any]:
    answers: list[Any] = [None] * len(actions)

    def run(number: int) -> None:
        answers[number] = actions[number]()

    threads = [threading.Thread(target=run, args=(number,)) for number in range(len(actions))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return answers


# -- the SDK, one by one ---------------------------------------------------------------------------------


def measure_sdk(lab: Lab, servers: list[str], volumes: list[str]) -> Figures:
    """What a plain script does: make one, wait for it, go on to the next."""
    cloud = Lab(lab.directory, lab.user).cloud
    figures = Figures()
    cloud.session.session.hooks["response"].append(
        lambda answer, *_a, **_k: figures.requests.update([str(answer.request.method)])
    )
    begun = time.monotonic()
    for server in servers:
        since = time.monotonic()
        cloud.compute.create_server_image(server, f"plain-{server}", wait=True, timeout=600)
        figures.cuts_s.append(time.monotonic() - since)
    for volume in volumes:
        since = time.monotonic()
        snapshot = cloud.block_storage.create_snapshot(
            volume_id=volume, name=f"plain-{volume}", is_forced=True
        )
        cloud.block_storage.wait_for_status(
            snapshot, status="available", failures=["error"], interval=1, wait=600
        )
        figures.cuts_s.append(time.monotonic() - since)
    figures.window_s = figures.total_s = time.monotonic() - begun
    return figures


def show(ours: Figures, plain: Figures, objects: int) -> None:
    """Print ratios first; seconds of one machine mean little elsewhere."""
    polls = sum(count for name, count in ours.requests.items() if name.endswith("GET"))
    posts = sum(ours.requests.values()) - polls
    print(f"objects                        {objects}")
    print(f"window, ours to the SDK's      {ours.window_s / plain.window_s:.2f}")
    print(f"total, ours to the SDK's       {ours.total_s / plain.total_s:.2f}")
    print(f"requests, ours to the SDK's    {sum(ours.requests.values()) / sum(plain.requests.values()):.2f}")
    print(f"window to our slowest cut      {ours.window_s / ours.slowest_s:.2f}  (goal: 1.20)")
    print(f"window to the SDK's slowest    {ours.window_s / plain.slowest_s:.2f}")
    print(
        f"requests that change something {posts}, for each object {posts / objects:.2f}  (goal: 2 and 3 in all)"
    )
    print(f"lists and looks                {polls}")
    print(
        json.dumps(
            {
                "ours": {"window_s": ours.window_s, "total_s": ours.total_s, "requests": dict(ours.requests)},
                "sdk": {
                    "window_s": plain.window_s,
                    "total_s": plain.total_s,
                    "requests": dict(plain.requests),
                },
            }
        )
    )


if __name__ == "__main__":
    main()

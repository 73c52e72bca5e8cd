"""Ten servers and ten volumes on the OpenStack lab: one cut through all of them, beside two plain scripts.

    QUIESCE_OPENSTACK_LAB=DIR python bench/openstack_ten.py [--servers N] [--volumes N]

All three go through the same services in the same run:

one by one   the SDK makes one image or snapshot, waits for it, and goes on to the next. Its cuts are the lone ones
at once      every request is sent at once from a thread of its own, then two lists are asked every quarter of a
             second: less cannot be done, so this is the shortest window that these services reach
quiesce      ``quiesce backup`` of one deployment with a node for each

A window reaches from the first cut begun to the last cut over; a server's cut is over when its image is no longer
queued, a volume's when its snapshot is available.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import json
import os
import sys
import tempfile
import threading
import time
import warnings
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

warnings.simplefilter("ignore")
ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT / "tests" / "labs" / "openstack"))

from cli import blueprint_of, server_node, volume_node  # noqa: E402
from lab import Lab, lab_directory, until  # noqa: E402

import quiesce.providers.openstack.provider as openstack_provider  # noqa: E402
from quiesce.cli.main import run  # noqa: E402
from quiesce.providers.openstack.client import Client, SessionClient  # noqa: E402
from quiesce.providers.openstack.credentials import Credentials  # noqa: E402

#: how often the scripts look, in seconds
LOOK_S = 0.25


@dataclass
class Figures:
    """What one way of doing it took."""

    window_s: float = 0.0
    total_s: float = 0.0
    #: how long each single cut took, by object
    cuts_s: dict[str, float] = field(default_factory=dict)
    requests: Counter[str] = field(default_factory=Counter)
    #: share of the machine's processors that was busy, whoever kept them so
    busy: float = 0.0

    @property
    def slowest_s(self) -> float:
        """The slowest single cut."""
        return max(self.cuts_s.values())

    @property
    def lists(self) -> int:
        """Requests that change nothing."""
        return sum(count for name, count in self.requests.items() if name.endswith("GET"))

    @property
    def changes(self) -> int:
        """Requests that change something, and logins."""
        return sum(self.requests.values()) - self.lists


def main() -> None:
    """Make the deployment, measure three ways, print, clean up."""
    options = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    options.add_argument("--servers", type=int, default=10)
    options.add_argument("--volumes", type=int, default=10)
    asked = options.parse_args()
    directory = lab_directory()
    if directory is None:
        raise SystemExit("needs the OpenStack lab: make lab-openstack")
    lab = Lab(directory)
    lab.wipe()
    servers = make_servers(lab, asked.servers)
    volumes = [lab.volume(f"bench-{number}") for number in range(asked.volumes)]
    ways = {"one by one": measure_one_by_one, "at once": measure_at_once, "quiesce": measure_quiesce}
    figures = {}
    for name, measure in ways.items():
        with processors() as busy:
            figures[name] = measure(lab, servers, volumes)
        figures[name].busy = busy()
        until(lambda: all(server.task_state is None for server in lab.cloud.compute.servers()), 300)
        lab.forget_points()
    show(figures, len(servers) + len(volumes))
    lab.wipe()


def make_servers(lab: Lab, count: int) -> list[str]:
    """Boot servers from an image of 16 MiB with nothing to run: only their disks matter."""
    for image in lab.cloud.image.images(name="bench"):
        lab.cloud.image.delete_image(image.id)
    image = lab.cloud.create_image(
        "bench",
        data=b"\x42" * (4 << 20) + bytes(12 << 20),
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


@contextlib.contextmanager
def processors() -> Iterator[Callable[[], float]]:
    """Give a function that tells which share of the processors' time was spent in the block."""
    begun = _processor_times()
    ended = begun
    yield lambda: (ended[0] - begun[0]) / (ended[1] - begun[1])
    ended = _processor_times()


def _processor_times() -> tuple[int, int]:
    """Return the time spent on anything, and all time, since the machine's start."""
    times = [int(word) for word in Path("/proc/stat").read_text().splitlines()[0].split()[1:9]]
    return sum(times) - times[3] - times[4], sum(times)


# -- the SDK -------------------------------------------------------------------------------------------


class Script:
    """What plain scripts do, with their requests counted."""

    def __init__(self, lab: Lab) -> None:
        self.figures = Figures()
        self.cloud = Lab(lab.directory, lab.user).cloud
        self.cloud.session.session.hooks["response"].append(
            lambda answer, *_a, **_k: self.figures.requests.update([str(answer.request.method)])
        )
        #: connects and looks the services up, which is not to be measured
        self.cloud.compute.find_flavor("tiny")
        list(self.cloud.image.images(limit=1))
        list(self.cloud.block_storage.snapshots(limit=1))
        self.figures.requests.clear()
        self.begun = time.monotonic()
        self._since: dict[str, float] = {}
        self._made: dict[str, str] = {}

    def begin(self, kind: str, source: str) -> None:
        """Ask for one image or snapshot."""
        self._since[source] = time.monotonic()
        if kind == "server":
            made = self.cloud.compute.create_server_image(source, f"plain-{source}")
        else:
            made = self.cloud.block_storage.create_snapshot(
                volume_id=source, name=f"plain-{source}", is_forced=True
            )
        self._made[made.id] = source

    def await_cuts(self) -> None:
        """Return when every cut that was begun is over."""
        while pending := self._pending():
            kinds = {kind for kind, _ in pending}
            over = self._over(kinds)
            for _, made in pending:
                if made in over:
                    source = self._made[made]
                    self.figures.cuts_s[source] = time.monotonic() - self._since[source]
            time.sleep(LOOK_S if self._pending() else 0)
        self.figures.window_s = time.monotonic() - self.begun

    def await_images(self) -> Figures:
        """Return the figures when every upload is over as well."""
        while any(image.status != "active" for image in self._images() if image.id in self._made):
            time.sleep(LOOK_S)
        self.figures.total_s = time.monotonic() - self.begun
        return self.figures

    def _pending(self) -> list[tuple[str, str]]:
        return [
            ("server" if source in self.servers else "volume", made)
            for made, source in self._made.items()
            if source not in self.figures.cuts_s
        ]

    servers: frozenset[str] = frozenset()

    def _over(self, kinds: set[str]) -> set[str]:
        over: set[str] = set()
        if "server" in kinds:
            over |= {image.id for image in self._images() if image.status != "queued"}
        if "volume" in kinds:
            snapshots = self.cloud.block_storage.snapshots()
            over |= {snapshot.id for snapshot in snapshots if snapshot.status == "available"}
        return over

    def _images(self) -> Iterator[Any]:
        return self.cloud.image.images(owner=self.cloud.current_project_id)


def measure_one_by_one(lab: Lab, servers: list[str], volumes: list[str]) -> Figures:
    """Make one, wait for it, go on to the next."""
    script = Script(lab)
    script.servers = frozenset(servers)
    for kind, source in objects(servers, volumes):
        script.begin(kind, source)
        script.await_cuts()
        if kind == "server":
            script.await_images()
    return script.await_images()


def measure_at_once(lab: Lab, servers: list[str], volumes: list[str]) -> Figures:
    """Ask for everything, then look."""
    script = Script(lab)
    script.servers = frozenset(servers)
    together([lambda k=kind, s=source: script.begin(k, s) for kind, source in objects(servers, volumes)])
    script.await_cuts()
    return script.await_images()


def objects(servers: list[str], volumes: list[str]) -> list[tuple[str, str]]:
    return [("server", name) for name in servers] + [("volume", name) for name in volumes]


def together(actions: list[Callable[[], Any]]) -> None:
    threads = [threading.Thread(target=action) for action in actions]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


# -- quiesce -------------------------------------------------------------------------------------------


class CountedProvider(openstack_provider.OpenStackProvider):
    """Remembers its clients, which count their requests."""

    clients: list[Client] = []  # noqa: RUF012  one bench, one list
    make: Callable[[Credentials], Client] = SessionClient

    def __init__(self, *_settings: object) -> None:
        super().__init__(connect=self._client)

    def _client(self, credentials: Credentials) -> Client:
        self.clients.append(type(self).make(credentials))
        return self.clients[-1]


def measure_quiesce(_: object, servers: list[str], volumes: list[str]) -> Figures:
    """Run the command line in this process, on a blueprint of the official plugin's types."""
    openstack_provider.OpenStackProvider = CountedProvider  # type: ignore[misc]
    CountedProvider.clients.clear()
    templates = {f"server{number}": server_node(name) for number, name in enumerate(servers)}
    templates |= {f"volume{number}": volume_node(name) for number, name in enumerate(volumes)}
    with tempfile.TemporaryDirectory() as home:
        os.environ["QUIESCE_HOME"] = f"{home}/state"
        blueprint = Path(home, "blueprint.yaml")
        blueprint.write_text(json.dumps(blueprint_of(templates)))
        command("init", str(blueprint), "-b", "bench")
        report = json.loads(
            command("backup", "bench", "--json", "-p", "snapshot_name=bench").splitlines()[-1]
        )
    return figures_of(report["report"])


def command(*arguments: str) -> str:
    """Run quiesce; return what it printed."""
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        status = run(list(arguments))
    if status:
        raise SystemExit(f"quiesce {' '.join(arguments)}: {status}\n{printed.getvalue()}")
    return printed.getvalue()


def figures_of(report: dict[str, Any]) -> Figures:
    """Read the figures from what quiesce itself reports."""
    cuts = [step for step in report["steps"] if step["operation"] == "snapshot"]
    every = [step for step in report["steps"] if step["ended_s"] is not None]
    return Figures(
        window_s=max(step["ended_s"] for step in cuts) - min(step["began_s"] for step in cuts),
        total_s=max(step["ended_s"] for step in every) - min(step["began_s"] for step in every),
        cuts_s={step["step"]: step["ended_s"] - step["began_s"] for step in cuts},
        requests=sum((client.calls for client in CountedProvider.clients), Counter()),
    )


# -- what is printed -----------------------------------------------------------------------------------


def show(figures: dict[str, Figures], count: int) -> None:
    """Print a row for each way, then what the goals compare."""
    plain, bare, ours = (figures[name] for name in ("one by one", "at once", "quiesce"))
    print(f"{count} objects, {os.cpu_count()} processors")
    print(f"{'':12}{'window s':>10}{'total s':>10}{'slowest cut s':>15}{'changes':>9}{'lists':>7}{'busy':>7}")
    for name, way in figures.items():
        lists, changes = (way.lists, way.changes) if name == "quiesce" else _sorted(way)
        print(
            f"{name:12}{way.window_s:10.2f}{way.total_s:10.2f}{way.slowest_s:15.2f}{changes:9}{lists:7}{way.busy:7.0%}"
        )
    print(f"window, quiesce to one by one         {ours.window_s / plain.window_s:5.2f}")
    print(f"window, quiesce to at once            {ours.window_s / bare.window_s:5.2f}")
    print(f"window, quiesce to slowest lone cut   {ours.window_s / plain.slowest_s:5.2f}  (goal 1.20)")
    print(f"window, at once to slowest lone cut   {bare.window_s / plain.slowest_s:5.2f}")
    print(f"changes, quiesce                      {ours.changes:5}  (goal {3 + 2 * count})")
    print(f"requests of quiesce                   {dict(ours.requests)}")


def _sorted(way: Figures) -> tuple[int, int]:
    return way.requests["GET"], sum(way.requests.values()) - way.requests["GET"]


if __name__ == "__main__":
    main()

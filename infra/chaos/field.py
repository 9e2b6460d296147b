"""The field: every process of a run, each of which can be killed, frozen, started again, added and taken away."""

import contextlib
import json
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

import yaml

from infra.chaos import freeze, stall
from infra.chaos.disk import Disk, mounted, own_mounts
from infra.chaos.read import ask_simulators
from infra.cli.options import run, say
from infra.kafka import EmbeddedKafka
from infra.kafka_cluster import EmbeddedCluster
from infra.local import SECRET_ENVIRONMENT, Ports, free_ports, local_document, prepare
from infra.ports import free_port
from infra.supervisor import Child, module, turnout
from schemas.errors import OperationError
from streams.loading import load_settings

READY_S = 90.0
CHECK_S = 0.1
BROKER_S = 240.0
"""After kill -9 or a full disk it reads its log again, beside everything else that starts."""
ROLES = ("router", "projector", "sink")
# A pass of the cleaner each second: a forced compaction is over before the next fault.
BROKER = {"log.cleaner.backoff.ms": "1000"}


@dataclass
class Frozen:
    """A process or a disk that stands still. Closing the pipe lets it go on."""

    holder: "subprocess.Popen[bytes]"

    def thaw(self) -> None:
        assert self.holder.stdin is not None
        self.holder.stdin.close()
        self.holder.wait(10)


@dataclass
class Field:
    """Owns the processes. `base`: the user's file; `overrides`: sections of the configuration.

    `small_disks`: which of `sql` and `kafka` get a disk of their own, where one can be mounted. `workers`, `projectors`:
    how many at the start. `brokers`: of more than one every topic has a replica on each.
    """

    folder: Path
    seed: int
    base: dict[str, object]
    overrides: Mapping[str, Any]
    small_disks: frozenset[str] = frozenset()
    workers: int = 2
    projectors: int = 2
    brokers: int = 1
    ports: Ports = field(default_factory=free_ports)
    children: dict[str, Child] = field(default_factory=dict)
    # Names that should run now: what is missing of them died by itself.
    wanted: set[str] = field(default_factory=set)
    broker_wanted: bool = True
    frozen: dict[str, Frozen] = field(default_factory=dict)
    disks: dict[str, Disk] = field(default_factory=dict)
    deaths: list[str] = field(default_factory=list)
    pages: dict[str, int] = field(default_factory=dict)
    load: "subprocess.Popen[bytes] | None" = None

    def __enter__(self) -> Self:
        self.folder.mkdir(parents=True, exist_ok=True)
        self.config = self.folder / "turnout.yaml"
        document = local_document(self.base, self.folder, self.ports, simulate=True)
        self.broker = self._kafka()
        if self.brokers > 1:
            own = {"bootstrap_servers": self.broker.bootstrap_servers, "replication_factor": self.brokers}
            document["kafka"] = document["kafka"] | own  # type: ignore[operator]
        for section, values in self.overrides.items():
            document[section] = dict(document.get(section) or {}) | values  # type: ignore[call-overload]
        self.config.write_text(yaml.safe_dump(document, sort_keys=False))
        self.settings = load_settings(self.config)
        try:
            self._mount()
            self._start()
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def _kafka(self) -> EmbeddedKafka | EmbeddedCluster:
        data, logs = self.folder / "kafka", self.folder / "logs"
        if self.brokers > 1:
            return EmbeddedCluster(data, self.brokers, properties=BROKER, logs=logs)
        return EmbeddedKafka(data, port=self.ports.kafka, properties=BROKER, log=logs / "broker.log")

    def _mount(self) -> None:
        try:
            if self.small_disks:
                own_mounts()
            for part in sorted(self.small_disks):
                self.disks[part] = mounted(self.folder / part)
        except OperationError as error:
            say(f"No small disk can be mounted here, so that faults of disks are skipped: {error}.")

    def _start(self) -> None:
        command = module("infra.simulators", "--port", str(self.ports.simulators))
        self._run("simulators", [*command, "--seed", str(self.seed), "--bill-limit", "5000000"])
        self.broker.start(BROKER_S)
        run(prepare(self.settings, apply=True))
        for role, count in (("router", self.workers), ("projector", self.projectors), ("sink", 1)):
            for _ in range(count):
                self.add(role)
        self.wait()

    def _run(self, name: str, command: list[str], **environment: str) -> None:
        own = SECRET_ENVIRONMENT | {"APP_DATADIR": str(self.folder / "faust")} | environment
        self.children[name] = Child(name, command, self.folder / "logs" / f"{name}.log", own)
        self.start(name)

    def add(self, role: str) -> str:
        """Start another process of a role under a new name; returns the name."""
        number = 1 + max(
            (int(name.rpartition("-")[2]) for name in self.children if name.startswith(f"{role}-")), default=0
        )
        name = f"{role}-{number}"
        arguments = ["sink"] if role == "sink" else ["worker", "--only", role]
        self.pages[name] = self.ports.sql if role == "sink" else free_port()
        command = turnout(*arguments, "--config", str(self.config), "--verbose")
        self._run(name, command, TURNOUT_WEB__PORT=str(self.pages[name]))
        return name

    def start(self, name: str) -> None:
        """Start a process that does not run."""
        self.children[name].start()
        self.wanted.add(name)

    def living(self, role: str) -> list[str]:
        """Names of a role's processes that run and are not frozen, in order."""
        return [
            name for name in sorted(self.wanted, key=_place)
            if name.startswith(f"{role}-") and name not in self.frozen and self.children[name].running
        ]  # fmt: skip

    def signal(self, name: str, number: int) -> None:
        """Send a signal that ends the process: from now on it is not missed."""
        self.wanted.discard(name)
        self.children[name].signal(number)

    def freeze(self, name: str) -> None:
        """SIGSTOP a process, or `broker`."""
        pid = self.broker.pid if name == "broker" else self.children[name].pid
        self._hold(name, freeze.__file__, str(pid))

    def stall(self, name: str, folder: Path) -> None:
        """Make the small disk of a folder stand still again and again, until `name` is thawed."""
        self._hold(name, stall.__file__, str(folder))

    def _hold(self, name: str, script: str, argument: str) -> None:
        command = [sys.executable, "-I", "-S", script, argument]
        holder = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        assert holder.stdout is not None
        holder.stdout.readline()
        self.frozen[name] = Frozen(holder)

    def thaw(self, name: str) -> None:
        """SIGCONT; nothing where it is not frozen."""
        if (held := self.frozen.pop(name, None)) is not None:
            held.thaw()

    def ready(self, name: str) -> bool:
        """Whether a process owns what it should, or answers."""
        if name == "simulators":
            with contextlib.suppress(OperationError):
                return bool(ask_simulators(self.ports.simulators, "/control"))
            return False
        path = "ping" if name.startswith("sink-") else "health"
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.pages[name]}/{path}", timeout=1) as answer:
                if path == "ping":
                    return bool(answer.status == 200)
                leases = json.load(answer)["leases"]
                return bool(leases) and all(leases.values())
        except (urllib.error.URLError, OSError, ValueError):
            return False

    def wait(self, timeout_s: float = READY_S) -> None:
        """Wait until every process is ready, and start again what dies. Raises OperationError when the time is up."""
        deadline, pause = time.monotonic() + timeout_s, threading.Event()
        while missing := [name for name in self.wanted if not self.ready(name)]:
            self.revive()
            if time.monotonic() > deadline:
                raise OperationError(
                    f"{', '.join(missing)} not ready within {timeout_s:.0f} s; see {self.folder / 'logs'}, "
                    "which --keep DIR preserves."
                )
            pause.wait(CHECK_S)

    def revive(self) -> None:
        """Start again what died by itself, and remember it."""
        for name in sorted(self.wanted):
            child = self.children[name]
            if not child.running:
                code = child.process.returncode if child.process else None
                self.deaths.append(f"{name} ended by itself with status {code} ({child.last_line()[:200]})")
                child.start()
        if self.broker_wanted and not self.broker.running:
            self.deaths.append("broker ended by itself")
            self.broker.start(BROKER_S)

    def kill_broker(self) -> None:
        """kill -9: from now on it is not missed."""
        self.broker_wanted = False
        self.broker.kill()

    def start_broker(self) -> None:
        """Start it where it does not run."""
        if not self.broker.running:
            self.broker.start(BROKER_S)
        self.broker_wanted = True

    def begin(self, rate: float, requests: int) -> None:
        """Start the publisher. `requests` 0: until `enough`."""
        prefix = self.settings.kafka.topic_prefix
        command = module(
            "infra.chaos.load", "--servers", self.broker.bootstrap_servers,
            "--topic", f"{prefix}requests", "--answers", f"{prefix}responses", "--out", str(self.load_report),
            "--rate", str(rate), "--requests", str(requests), "--seed", str(self.seed),
        )  # fmt: skip
        with (self.folder / "logs" / "load.log").open("ab") as log:
            # Not in our session's foreground: Ctrl-C ends it through its stdin, which we hold.
            self.load = subprocess.Popen(
                command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log, start_new_session=True
            )
        assert self.load.stdout is not None
        if self.load.stdout.readline() != b"ready\n":
            raise OperationError(f"The publisher did not start; see {self.folder / 'logs' / 'load.log'}.")

    @property
    def load_report(self) -> Path:
        return self.folder / "load.json"

    def tell(self, line: str) -> None:
        """A command to the publisher; nothing where it has ended."""
        if self.load is not None and self.load.poll() is None:
            assert self.load.stdin is not None
            with contextlib.suppress(BrokenPipeError):
                self.load.stdin.write(f"{line}\n".encode())
                self.load.stdin.flush()

    def heal(self) -> None:
        """Let everything go on, and have one of each role at least."""
        for name in list(self.frozen):
            self.thaw(name)
        for disk in self.disks.values():
            disk.relieve()
        self.start_broker()
        for provider in ask_simulators(self.ports.simulators, "/control")["providers"]:
            ask_simulators(self.ports.simulators, f"/control/{provider}", {"fault": None})
        for role in ROLES:
            if not self.living(role):
                self.add(role)
        self.wait()

    def stop(self) -> None:
        """End everything."""
        for name in list(self.frozen):
            self.thaw(name)
        if self.load is not None:
            assert self.load.stdin is not None
            with contextlib.suppress(BrokenPipeError):
                self.load.stdin.close()
            self.load.wait(10)
        children = [child for child in self.children.values() if child.running]
        for child in children:
            child.signal(15)
        deadline = time.monotonic() + 12.0
        for child in children:
            if child.wait(max(0.1, deadline - time.monotonic())) is None:
                child.signal(9)
                child.wait(5.0)
        self.broker.stop()
        for disk in self.disks.values():
            disk.unmount()


def _place(name: str) -> tuple[str, int]:
    role, _, number = name.rpartition("-")
    return role, int(number) if number.isdigit() else 0

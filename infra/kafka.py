"""Apache Kafka as a child process, from its published jars and a Java runtime out of a wheel: no Docker, no account."""

import base64
import contextlib
import os
import re
import signal
import socket
import struct
import subprocess
import sys
import threading
import time
import uuid
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Self

from infra.kafka_jars import KafkaStartError, class_path, java_executable
from infra.kafka_properties import LOG4J, PROPERTIES, escaped
from infra.ports import HOST, free_port, require_free
from infra.tether import parent_of, runs_with

LOG_LIMIT_BYTES = 10 * 1024 * 1024
ORPHAN_TIMEOUT_S = 10.0
UTF_8 = {"LC_ALL": "C.UTF-8"}
"""Java reads file names by the locale: in that of C, where cron and ssh may leave us, it finds none with an umlaut."""


class EmbeddedKafka:
    """One Kafka broker and controller, owned by this process and ended with it; its data outlives it.

    Blocking: from asyncio call start and stop through `asyncio.to_thread`. Not safe for use by two threads at once.
    """

    def __init__(
        self,
        data: Path,
        *,
        port: int = 9092,
        controller_port: int | None = None,
        heap_mb: int = 384,
        properties: Mapping[str, str] | None = None,
        log: Path | None = None,
        cluster_id: str | None = None,
    ) -> None:
        """`data` is created if missing. None: `controller_port` a free one at each start, `log` data/broker.log.

        `cluster_id`: of a cluster of several, whose `properties` name its node.id and the controller.quorum.voters.
        """
        self.data = data.absolute()
        self.port = port
        self.controller_port = controller_port
        self.heap_mb = heap_mb
        self.properties = dict(properties or {})
        self.log = (log or self.data / "broker.log").absolute()
        self.cluster_id = cluster_id
        self._process: subprocess.Popen[bytes] | None = None
        self._release = threading.Event()
        self._log_start = 0

    @property
    def bootstrap_servers(self) -> str:
        return f"{HOST}:{self.port}"

    @property
    def pid(self) -> int:
        """Process id of the broker, also after its end. Raises RuntimeError before the first start."""
        if self._process is None:
            raise RuntimeError("Kafka has not been started: call start() first.")
        return self._process.pid

    @property
    def running(self) -> bool:
        return self._process is not None and self._process.poll() is None

    def start(self, timeout_s: float = 60) -> None:
        """Start and return when the broker answers. Raises KafkaStartError; then nothing is left running."""
        if self.running:
            raise RuntimeError("Kafka is running already: call stop() first.")
        if "," in str(self.data):
            raise KafkaStartError(f"Kafka cannot keep its data in {self.data}: choose a folder without a comma.")
        deadline = time.monotonic() + timeout_s
        jars = class_path()
        try:
            self.data.mkdir(parents=True, exist_ok=True)
            self.log.parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise KafkaStartError(
                f"Kafka cannot use {error.filename} ({error.strerror}): choose a folder that can be written."
            ) from None
        self._await_orphan()
        for port in filter(None, (self.port, self.controller_port)):
            require_free(port)
        java = self._java(jars, self._write_configuration())
        self._rotate_log()
        try:
            self._format(java, deadline)
            self._spawn([*java, "kafka.Kafka", str(self.data / "server.properties")])
            self._await_answer(deadline, timeout_s)
        except BaseException:  # Ctrl-C too: a broker that nobody waits for must not stay
            self.kill()
            raise

    def stop(self, timeout_s: float = 10) -> None:
        """SIGTERM, then SIGKILL after the timeout. Does nothing if the broker does not run."""
        process = self._process
        if process is None:
            return
        process.send_signal(signal.SIGTERM)
        process.send_signal(signal.SIGCONT)  # a paused broker gets its SIGTERM only when it goes on
        try:
            process.wait(timeout_s)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        self._release.set()

    def kill(self) -> None:
        """SIGKILL, and wait for the end. Does nothing if the broker does not run."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._release.set()

    def pause(self) -> None:
        """Freeze the broker (SIGSTOP): connections stay open and nothing answers."""
        os.kill(self._living(), signal.SIGSTOP)

    def resume(self) -> None:
        """Let a frozen broker go on (SIGCONT)."""
        os.kill(self._living(), signal.SIGCONT)

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def _living(self) -> int:
        if not self.running:
            raise RuntimeError("Kafka is not running: call start() first.")
        return self.pid

    def _write_configuration(self) -> Path:
        """Write server.properties and log4j2.properties; returns the latter's path."""
        controller = f"{HOST}:{self.controller_port or free_port()}"
        values = {
            **PROPERTIES,
            **({} if self.cluster_id else {"controller.quorum.bootstrap.servers": controller}),
            "listeners": f"PLAINTEXT://{self.bootstrap_servers},CONTROLLER://{controller}",
            "advertised.listeners": f"PLAINTEXT://{self.bootstrap_servers}",
            "log.dirs": str(self.data / "log"),
            **self.properties,
        }
        text = "".join(f"{key}={escaped(value)}\n" for key, value in values.items())
        (self.data / "server.properties").write_text(text, encoding="ascii")
        log4j = self.data / "log4j2.properties"
        log4j.write_text(LOG4J, encoding="ascii")
        return log4j

    def _java(self, jars: list[Path], log4j: Path) -> list[str]:
        """The Java command up to the main class."""
        return [
            str(java_executable()), f"-Xmx{self.heap_mb}m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1",
            "-XX:+ExitOnOutOfMemoryError", f"-Dlog4j2.configurationFile={log4j.as_uri()}", "-Dlog4j2.disableJmx=true",
            "-cp", ":".join(map(str, jars)),
        ]  # fmt: skip

    def _format(self, java: list[str], deadline: float) -> None:
        """Give the data folder its cluster id, once."""
        if (self.data / "log" / "meta.properties").exists():
            return
        alone = [] if self.cluster_id else ["--standalone"]
        tool = [
            *java,
            "kafka.tools.StorageTool",
            "format",
            *alone,
            f"--cluster-id={self.cluster_id or new_cluster_id()}",
        ]
        self._spawn([*tool, "-c", str(self.data / "server.properties")])
        assert self._process is not None
        try:
            code = self._process.wait(max(0.0, deadline - time.monotonic()))
        except subprocess.TimeoutExpired:
            raise KafkaStartError(f"Kafka could not format its storage in time: look into {self.log}.") from None
        self._release.set()
        if code != 0:
            raise KafkaStartError(f"Kafka could not format its storage: {self._last_line()} (see {self.log}).")

    def _spawn(self, command: list[str]) -> None:
        """Start a tethered child in a session of its own, so that Ctrl-C in the terminal reaches only its owner.

        The parent-death signal is bound to the *thread* that starts the child, and `start` may run in a short-lived
        one; so a daemon thread starts it and stays until the child is gone.
        """
        tether = [sys.executable, "-I", "-S", str(Path(__file__).with_name("tether.py")), str(os.getpid())]
        started, release = threading.Event(), threading.Event()
        failure: list[OSError] = []

        def own() -> None:
            try:
                with self.log.open("ab") as log:
                    self._process = subprocess.Popen(
                        [*tether, *command], stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True,
                        env=os.environ | UTF_8,
                    )  # fmt: skip
            except OSError as error:
                failure.append(error)
            started.set()
            release.wait()

        self._process, self._release = None, release
        threading.Thread(target=own, name="kafka-owner", daemon=True).start()
        started.wait()
        if failure:
            release.set()
            raise KafkaStartError(f"Kafka cannot be run ({failure[0].strerror}): check {self.log.parent} and its disk.")
        (self.data / "broker.pid").write_text(f"{self.pid} {os.getpid()}", encoding="ascii")

    def _await_answer(self, deadline: float, timeout_s: float) -> None:
        assert self._process is not None
        while True:
            answered = _knows_a_broker(self.port)
            code = self._process.poll()
            if code is not None:
                raise KafkaStartError(
                    f"Kafka ended at its start with code {code}: {self._last_line()} (see {self.log})."
                )
            if answered:
                return
            if time.monotonic() > deadline:
                raise KafkaStartError(f"Kafka did not answer within {timeout_s:g} s: look into {self.log}.")
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._process.wait(0.05)

    def _await_orphan(self) -> None:
        """Let a broker whose owner was killed finish; end it after ORPHAN_TIMEOUT_S (it may be frozen)."""
        try:
            pid, owner = map(int, (self.data / "broker.pid").read_text(encoding="ascii").split())
        except (OSError, ValueError):
            return
        deadline = time.monotonic() + ORPHAN_TIMEOUT_S
        while runs_with(pid, self.data / "server.properties"):
            if parent_of(pid) == owner:
                raise KafkaStartError(
                    f"Kafka's data in {self.data} are in use by process {pid}: stop it or choose another folder."
                )
            if time.monotonic() > deadline:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            time.sleep(0.05)  # not our child any more, so there is nothing to wait on

    def _rotate_log(self) -> None:
        if self.log.exists() and self.log.stat().st_size > LOG_LIMIT_BYTES:
            self.log.replace(self.log.with_name(self.log.name + ".1"))
        self._log_start = self.log.stat().st_size if self.log.exists() else 0

    def _last_line(self) -> str:
        """The line of this start's log that says most: the deepest exception, else the last error or line."""
        with self.log.open("rb") as log:
            log.seek(self._log_start)
            lines = [line for line in log.read().decode(errors="replace").splitlines() if line.strip()]
        for pattern in (r"^(Caused by: |Exception in thread \S+ )?[\w.$]+(Exception|Error): ", r"\b(FATAL|ERROR)\b"):
            found = [line for line in lines if re.search(pattern, line)]
            if found:
                return found[-1].strip()[:500]
        return lines[-1].strip()[:500] if lines else "it wrote nothing"


def new_cluster_id() -> str:
    """As Kafka writes a UUID: base64 without padding."""
    return base64.urlsafe_b64encode(uuid.uuid4().bytes).rstrip(b"=").decode()


def _knows_a_broker(port: int) -> bool:
    """One Metadata round trip (version 1, no topics): does the server answer, and list a broker?"""
    client = b"turnout"
    body = struct.pack(f">hhih{len(client)}si", 3, 1, 1, len(client), client, 0)
    try:
        with socket.create_connection((HOST, port), timeout=1) as connection:
            connection.sendall(struct.pack(">i", len(body)) + body)
            answer = connection.recv(12, socket.MSG_WAITALL)  # length, correlation id, number of brokers
    except OSError:
        return False
    return len(answer) == 12 and struct.unpack(">iii", answer)[2] > 0

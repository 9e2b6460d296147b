"""Everything on one machine: Kafka, topics, provider simulators, worker and sink, each a process of its own."""

import contextlib
import json
import os
import urllib.error
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from importlib import resources
from pathlib import Path
from typing import Any

import yaml
from pydantic_settings import EnvSettingsSource

from infra.cli.options import run
from infra.kafka import EmbeddedKafka
from infra.kafka_jars import KafkaStartError
from infra.ports import free_port, require_free
from infra.supervisor import Child, Supervisor, module, turnout, wait_until
from schemas.errors import OperationError
from streams.loading import load_settings, read_document, settings_file
from streams.settings import ENVIRONMENT_PREFIX, Settings

DUMPER = getattr(yaml, "CSafeDumper", yaml.SafeDumper)
SIMULATED = "simulated.yaml"
LOCAL_DRAIN_S = 5
SECRET_ENVIRONMENT = {"SIMULATED_KEY": "simulated"}


@dataclass(frozen=True)
class Ports:
    """Where everything listens on loopback. `projector_web` is 0 where one worker does both jobs.

    `further`: of routers beyond the first, one each.
    """

    kafka: int
    sql: int
    web: int
    simulators: int
    projector_web: int = 0
    further: tuple[int, ...] = ()

    @property
    def workers(self) -> dict[str, int]:
        """Where the pages of the workers are, by name."""
        routers = {f"worker-{number}": port for number, port in enumerate(self.further, 2)}
        return {"worker": self.web} | routers | ({"projector": self.projector_web} if self.projector_web else {})

    def require_free(self, *, simulate: bool) -> None:
        """Raises KafkaStartError that names a port that cannot be used, and where to choose another one."""
        chosen = [
            (self.kafka, "--kafka-port"),
            (self.sql, "sql.port"),
            *((port, "web.port") for port in self.workers.values()),
        ]
        if simulate:
            chosen.append((self.simulators, "--simulators-port"))
        seen: dict[int, str] = {}
        for port, what in chosen:
            if port in seen:
                raise KafkaStartError(f"Port {port} is wanted twice: choose another {what} or {seen[port]}.")
            seen[port] = what
            require_free(port, what)


def free_ports() -> Ports:
    """Ports nobody uses now, for a demo beside whatever else runs."""
    return Ports(free_port(), free_port(), free_port(), free_port(), free_port())


@dataclass
class Stack:
    """The running parts of one machine."""

    settings: Settings
    config: Path
    ports: Ports
    broker: EmbeddedKafka
    supervisor: Supervisor
    children: dict[str, Child]

    def ready(self, port: int, path: str) -> bool:
        """Whether an HTTP page answers 200."""
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=1) as answer:
                return bool(answer.status == 200)
        except (urllib.error.URLError, OSError):
            return False

    def owns(self, port: int) -> bool:
        """Whether the worker with its page there owns its partitions."""
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/health", timeout=1) as answer:
                leases = json.load(answer)["leases"].values()
        except (urllib.error.URLError, OSError, ValueError):
            return False
        return bool(leases) and all(leases)


def simulated_catalog(simulators: int) -> dict[str, object]:
    """The catalog of the provider simulators, at their port."""
    text = resources.files("infra").joinpath("config", SIMULATED).read_text()
    return dict(yaml.safe_load(text.replace("SIMULATORS_PORT", str(simulators))))


def taken_in(config: Path | None) -> dict[str, object]:
    """The user's file with what the environment says in its place; the environment forgets it.

    The environment wins over every file: what is started here would reach the cluster that it names. Raises
    ConfigurationError where either is wrong.
    """
    file = settings_file(config)
    load_settings(file)
    document = _over(read_document(file)[0] if file else {}, EnvSettingsSource(Settings)())
    for name in [name for name in os.environ if _section(name) in Settings.model_fields]:
        del os.environ[name]
    return document


def _section(variable: str) -> str:
    """The section of the file that an environment variable speaks of; others are left alone, they may hold keys."""
    prefix, name = variable[: len(ENVIRONMENT_PREFIX)], variable[len(ENVIRONMENT_PREFIX) :]
    return name.partition("__")[0].lower() if prefix.upper() == ENVIRONMENT_PREFIX else ""


def _over(document: dict[str, Any], more: dict[str, Any]) -> dict[str, Any]:
    """Both, key by key; `more` wins."""
    return document | {
        name: _over(document[name], item) if isinstance(item, dict) and isinstance(document.get(name), dict) else item
        for name, item in more.items()
    }


def local_document(base: dict[str, object], data: Path, ports: Ports, *, simulate: bool) -> dict[str, object]:
    """The user's file with everything embedded; `simulate` puts the simulators' catalog in place of the file's."""
    document = dict(base)
    if simulate:
        document |= simulated_catalog(ports.simulators)
    kafka = dict(document.get("kafka") or {})  # type: ignore[call-overload]
    document["kafka"] = kafka | {
        "bootstrap_servers": f"127.0.0.1:{ports.kafka}",
        "replication_factor": 1,
        "security": {},
    }
    document["sql"] = dict(document.get("sql") or {}) | {"url": f"chdb:{data / 'sql'}", "port": ports.sql}  # type: ignore[call-overload]
    document["web"] = {"port": ports.web}
    # Ctrl-C on one machine ends everything within ten seconds; what is cut off runs again at the next start.
    document["worker"] = {"drain_s": LOCAL_DRAIN_S} | dict(document.get("worker") or {})  # type: ignore[call-overload]
    return document


@contextlib.contextmanager
def local_stack(
    data: Path, base: dict[str, object], ports: Ports, *, simulate: bool, seed: int = 7, scripts: Path | None = None
) -> Iterator[Stack]:
    """Start everything in order and end it in the reverse order. Raises OperationError when a part does not start."""
    data.mkdir(parents=True, exist_ok=True)
    config = data / "turnout.yaml"
    document = local_document(base, data, ports, simulate=simulate)
    config.write_text(yaml.dump(document, Dumper=DUMPER, sort_keys=False, allow_unicode=True), encoding="utf-8")
    settings = load_settings(config)
    supervisor = Supervisor()
    broker = EmbeddedKafka(data / "kafka", port=ports.kafka)
    children: dict[str, Child] = {}
    stack = Stack(settings, config, ports, broker, supervisor, children)
    try:
        try:
            ports.require_free(simulate=simulate)
            if simulate:
                arguments = ["--port", str(ports.simulators), "--seed", str(seed)]
                command = module("infra.simulators", *arguments, *(["--script", str(scripts)] if scripts else []))
                children["simulators"] = supervisor.add(Child("simulators", command, data / "logs" / "simulators.log"))
            broker.start()
        except KafkaStartError as error:
            raise OperationError(str(error)) from None
        # The simulators' ports may be new ones: their catalog is applied each time, a user's own file only by `turnout apply`.
        run(prepare(settings, apply=simulate))
        # Faust makes a folder for each app, in the current one by default.
        environment = SECRET_ENVIRONMENT | {"APP_DATADIR": str(data / "faust")}
        for name, port in {**ports.workers, "sink": 0}.items():
            # Two kinds of processes: a flood of requests must not delay the circuits that protect from it.
            only = ["--only", "projector" if name == "projector" else "router"] if ports.projector_web else []
            command = turnout("sink") if name == "sink" else turnout("worker", *only)
            child = Child(
                name,
                [*command, "--config", str(config), "--verbose"],
                data / "logs" / f"{name}.log",
                environment | {"TURNOUT_WEB__PORT": str(port)},
            )
            children[name] = supervisor.add(child)
        if simulate:
            wait_until(
                lambda: stack.ready(ports.simulators, "/control"),
                children["simulators"],
                timeout_s=20,
                what="The simulators",
            )
        for name, port in ports.workers.items():
            wait_until(partial(stack.owns, port), children[name], timeout_s=60, what=f"The {name}")
        wait_until(lambda: stack.ready(ports.sql, "/ping"), children["sink"], timeout_s=60, what="The sink")
        yield stack
    finally:
        supervisor.stop()
        broker.stop()


async def prepare(settings: Settings, apply: bool) -> None:
    """Create the topics, and publish the configuration where none is in force or `apply` asks for it."""
    from infra.cli.reading import read_control
    from infra.cli.topics import created_topics
    from streams.apply import changes, configuration_event, publish_control
    from streams.clock import BrokerClock
    from streams.codecs import codec_of
    from streams.reader import group_less

    await created_topics(settings)
    codec, clock = await codec_of(settings.kafka), BrokerClock()
    async with group_less(settings.kafka.access) as consumer:
        inforce = (await read_control(consumer, settings, codec)).current
    if not inforce.applied or (apply and changes(inforce, settings)):
        await publish_control(settings, codec, clock, [configuration_event(settings, clock.now())])

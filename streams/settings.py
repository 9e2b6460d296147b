"""Settings: one YAML file and the environment. Every wrong key is named with its line."""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Literal, Self

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict

from schemas.catalog import Catalog, CredentialReference
from schemas.errors import ConfigurationError
from schemas.numbers import LONGEST_DAYS, YEAR_S, Count, Seconds
from schemas.policy import (
    AlertPolicy,
    Budget,
    CircuitPolicy,
    Configuration,
    RoutingPolicy,
    SlaTarget,
    Tenant,
)
from streams.access import Access, KafkaSecurity

ENVIRONMENT_PREFIX = "TURNOUT_"
DEFAULT_FILE = Path("turnout.yaml")
SHAPES = {
    "model_type": "hold keys with values; indent them below it",
    "dict_type": "hold keys with values; indent them below it",
    "tuple_type": "be a list; begin each of its items with `- `",
    "list_type": "be a list; begin each of its items with `- `",
}
APPLIED_SECTIONS = ("catalog", "routing", "circuit", "budgets", "sla", "tenants", "alerts")


class Section(BaseModel):
    """A part of the file; unknown keys are errors."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class KafkaSettings(Section):
    """`partitions` are fixed when the topics are created: 8 embedded, 64 in production."""

    bootstrap_servers: str = "127.0.0.1:9092"
    topic_prefix: str = Field("llm.", pattern=r"^[a-zA-Z0-9._-]+$")
    partitions: int = Field(8, ge=1, le=10_000)
    replication_factor: int = Field(1, ge=1, le=32_767)
    security: KafkaSecurity = KafkaSecurity()
    event_format: Literal["avro", "json"] = "avro"
    schema_registry_url: str | None = None
    event_retention_days: int = Field(40, ge=1, le=LONGEST_DAYS)
    content_retention_hours: int = Field(24, ge=1, le=24 * LONGEST_DAYS)

    @property
    def access(self) -> Access:
        """What clients connect with."""
        return Access(self.bootstrap_servers, self.security)


class SqlUser(Section):
    """A reader of the embedded SQL door. `role`: admin, analyst, or tenant:T, who sees T's rows alone."""

    name: str = Field(min_length=1, pattern=r"^[^:\s]+$")
    password: CredentialReference = Field(min_length=1)
    role: str = Field("analyst", pattern=r"^(admin|analyst|tenant:.+)$")


class SqlSettings(Section):
    """`url`: chdb:PATH for the embedded engine, or http(s)://HOST:PORT of a server. `port`: the embedded SQL door.
    `cluster`: the server's name of a cluster, on which tables are then made and replicated. `retention_months`: raw events
    of so many months besides the current one are kept, and what they came to by the hour for good; 0: all.

    Without `users` everybody on this machine reads; a server has users of its own.
    """

    url: str = "chdb:./data/sql"
    port: int = Field(8123, ge=0, le=65535)
    database: Literal["turnout"] = "turnout"
    cluster: str = Field("", pattern=r"^[\w.-]*$")
    users: tuple[SqlUser, ...] = ()
    retention_months: int = Field(0, ge=0, le=1200)

    @field_validator("users")
    @classmethod
    def named_once(cls, users: tuple[SqlUser, ...]) -> tuple[SqlUser, ...]:
        if len({user.name for user in users}) < len(users):
            raise ValueError("holds a name twice; give each user one entry")
        return users

    @model_validator(mode="after")
    def cluster_of_servers(self) -> Self:
        if self.cluster and self.url.startswith("chdb:"):
            raise ValueError(
                "cluster needs the url of a server of it; the embedded engine stands alone, leave cluster out"
            )
        return self


class WorkerSettings(Section):
    """How a worker shares the work. Seconds. The drain bound stays below the rebalance timeout."""

    max_in_flight: Count = 1000
    session_timeout_s: float = Field(10.0, ge=2, le=86_400)
    drain_s: Seconds = 30.0
    rebalance_timeout_s: float = Field(60.0, gt=0, le=86_400)
    dedup_window_s: float = Field(600.0, ge=0, le=YEAR_S)
    max_request_bytes: int = Field(8 * 1024 * 1024, ge=1024, le=1024**3)
    tick_s: Seconds = 5.0
    snapshot_interval_s: Seconds = 0.5


class WebSettings(Section):
    """Metrics and health of a worker; 0 = any free port."""

    port: int = Field(6066, ge=0, le=65535)


class Settings(BaseSettings):
    """The whole file. Environment wins: `TURNOUT_KAFKA__BOOTSTRAP_SERVERS` overrides `kafka.bootstrap_servers`."""

    model_config = SettingsConfigDict(
        env_prefix=ENVIRONMENT_PREFIX, env_nested_delimiter="__", extra="forbid", frozen=True
    )

    kafka: KafkaSettings = KafkaSettings()
    sql: SqlSettings = SqlSettings()
    worker: WorkerSettings = WorkerSettings()
    web: WebSettings = WebSettings()
    catalog: Catalog = Catalog()
    routing: RoutingPolicy = RoutingPolicy()
    circuit: CircuitPolicy = CircuitPolicy()
    budgets: tuple[Budget, ...] = ()
    sla: tuple[SlaTarget, ...] = ()
    tenants: tuple[Tenant, ...] = ()
    alerts: AlertPolicy = AlertPolicy()

    @model_validator(mode="after")
    def sql_outlives_kafka(self) -> Self:
        """A sink that reads Kafka from its start again rebuilds its rollups from raw events: all of those have to be there."""
        least, kafka = self.sql.retention_months * 28, self.kafka.event_retention_days
        if 0 < least < kafka:
            raise ValueError(
                f"sql.retention_months keeps {least} days and more, and Kafka {kafka} days (kafka.event_retention_days);"
                f" raise it to {-(-kafka // 28)}, or to 0, which keeps all"
            )
        return self

    @property
    def configuration(self) -> Configuration:
        """The part that `turnout apply` publishes."""
        return Configuration.model_validate({name: getattr(self, name) for name in APPLIED_SECTIONS})

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        return env_settings, init_settings


def settings_file(given: Path | None) -> Path | None:
    """The file to read: `--config`, else TURNOUT_CONFIG, else turnout.yaml where there is one."""
    if given is not None:
        return given
    if named := os.environ.get("TURNOUT_CONFIG"):
        return Path(named)
    return DEFAULT_FILE if DEFAULT_FILE.exists() else None


def load_settings(file: Path | None) -> Settings:
    """Read the file and the environment. Raises ConfigurationError with one sentence for every wrong key."""
    text, root = ("", None) if file is None else read_nodes(file)
    document = yaml.safe_load(text) or {}
    if not isinstance(document, dict):
        raise ConfigurationError(f"{file}:1: the file must be a mapping of sections such as kafka and catalog")
    try:
        return Settings(**document)
    except ValidationError as error:
        raise ConfigurationError(*_sentences(error, file, root)) from None


def read_nodes(file: Path) -> tuple[str, yaml.Node | None]:
    """The file's text, and its nodes, which know their lines. Raises ConfigurationError where it is no clear YAML."""
    try:
        text = file.read_text(encoding="utf-8")
        root = yaml.compose(text, Loader=yaml.SafeLoader)
    except OSError as error:
        raise ConfigurationError(f"{file} cannot be read ({error.strerror}); name a file with --config") from None
    except UnicodeDecodeError as error:
        raise ConfigurationError(f"{file}: byte {error.start} is not UTF-8; save the file as UTF-8 text") from None
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        where = f"{file}:{mark.line + 1}" if mark else str(file)
        problem = getattr(error, "problem", None) or getattr(error, "reason", None) or "not YAML"
        raise ConfigurationError(f"{where}: {problem}; correct the YAML") from None
    if problems := [f"{file}:{problem}" for problem in _ambiguous(root)]:
        raise ConfigurationError(*problems)
    return text, root


def _ambiguous(node: yaml.Node | None, path: str = "", above: tuple[yaml.Node, ...] = ()) -> Iterator[str]:
    """`LINE: what is wrong` of a key that stands twice, of which YAML would keep the last alone, and of a value in itself."""
    if node is None or isinstance(node, yaml.ScalarNode):
        return
    if node in above:
        yield f"{node.start_mark.line + 1}: {path} holds itself; remove the alias"
        return
    lines: dict[str, int] = {}
    for index, item in enumerate(node.value):
        key, value = item if isinstance(node, yaml.MappingNode) else (None, item)
        name = f"{path}.{index if key is None else key.value}".removeprefix(".")
        if key is not None:
            line = key.start_mark.line + 1
            if name in lines:
                yield f"{line}: {name} stands on line {lines[name]} already; keep one of the two"
            lines.setdefault(name, line)
        yield from _ambiguous(value, name, (*above, node))


def _sentences(error: ValidationError, file: Path | None, root: yaml.Node | None) -> list[str]:
    return [
        _sentence([*problem["loc"], *path], problem["type"], message, file, root)
        for problem in error.errors(include_input=False, include_url=False)
        # A catalog names all that does not fit together at once.
        for path, message in problem.get("ctx", {}).get("problems", [((), problem["msg"])])
    ]


def _sentence(place: list[str | int], kind: str, message: str, file: Path | None, root: yaml.Node | None) -> str:
    # pydantic adds "[key]" where a key of a mapping is wrong.
    path = [part for part in place if isinstance(part, (str, int)) and part != "[key]"]
    name = ".".join(str(part) for part in path) or "configuration"
    line = _line(root, path)
    variable = ENVIRONMENT_PREFIX + "__".join(str(part) for part in path).upper()
    where = variable if variable in os.environ else f"{file}:{line}" if line else str(file or "environment")
    if kind == "extra_forbidden":
        return f"{where}: {name} is not a key that Turnout knows; remove it or correct its spelling"
    if kind in SHAPES:
        return f"{where}: {name} must {SHAPES[kind]}"
    message = message.removeprefix("Value error, ")
    # An id keeps its letters.
    return f"{where}: {name}: {message if kind == 'inconsistent' else message[:1].lower() + message[1:]}"


def _line(node: yaml.Node | None, path: list[str | int]) -> int | None:
    """The line of the deepest part of `path` that stands in the file, counted from 1."""
    if node is None:
        return None
    line = node.start_mark.line + 1
    for part in path:
        if isinstance(node, yaml.MappingNode):
            entry = next(((key, value) for key, value in node.value if key.value == str(part)), None)
            if entry is None:
                return line
            line, node = entry[0].start_mark.line + 1, entry[1]
        elif isinstance(node, yaml.SequenceNode) and isinstance(part, int) and part < len(node.value):
            node = node.value[part]
            line = node.start_mark.line + 1
        else:
            return line
    return line

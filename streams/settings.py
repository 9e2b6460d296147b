"""Settings: what stands in the one YAML file, with what it is where nothing stands there."""

from typing import Literal, Self

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict

from schemas.catalog import Catalog, CredentialReference
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
    """How a worker shares the work. Seconds. The drain bound stays below the rebalance timeout.

    `ca_file`: PEM of authorities that providers and webhooks may have their certificates of, beside the public ones.
    """

    max_in_flight: Count = 1000
    session_timeout_s: float = Field(10.0, ge=2, le=86_400)
    drain_s: Seconds = 30.0
    rebalance_timeout_s: float = Field(60.0, gt=0, le=86_400)
    dedup_window_s: float = Field(600.0, ge=0, le=YEAR_S)
    max_request_bytes: int = Field(8 * 1024 * 1024, ge=1024, le=1024**3)
    tick_s: Seconds = 5.0
    snapshot_interval_s: Seconds = 0.5
    ca_file: str = ""


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

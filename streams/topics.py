"""Topics: names, what each is for, creation and verification."""

import asyncio
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

import structlog
from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType
from aiokafka.errors import KafkaConnectionError, TopicAlreadyExistsError, for_code

from schemas.errors import ConfigurationError, OperationError
from schemas.requests import Priority
from streams.access import Cluster, client_options, no_broker
from streams.settings import Settings

log = structlog.get_logger()

HOUR_MS = 3_600_000
DAY_MS = 24 * HOUR_MS
VISIBLE_S = 30.0
LARGEST = "max.message.bytes"
LEAST_RECORD_BYTES = 1024 * 1024
"""Kafka's own default. Less would not hold a producer's batches, whose records are small each."""
EVENT_KINDS = ("decisions", "attempts", "costs", "transitions")
DEFAULTS = {"cleanup.policy": "delete"}
CONTENT_KINDS = ("requests", "responses", "chunks")


@dataclass(frozen=True, slots=True)
class RequestTopic:
    """A topic that users publish to. `tenant` is None where the caller's claim counts.

    `priority`: of requests that name none. `share`: the part of a worker's calls in flight that the topic may take.
    """

    name: str
    responses: str
    chunks: str
    tenant: str | None
    priority: Priority = "standard"
    share: float = 1.0


@dataclass(frozen=True, slots=True)
class Topics:
    """Names under one prefix. Every topic but `control` has the same number of partitions."""

    prefix: str
    partitions: int
    requests: tuple[RequestTopic, ...]

    def name(self, kind: str) -> str:
        return f"{self.prefix}{kind}"

    @property
    def by_name(self) -> dict[str, RequestTopic]:
        return {topic.name: topic for topic in self.requests}

    def all(self) -> list[str]:
        content = [name for topic in self.requests for name in (topic.name, topic.responses, topic.chunks)]
        return content + [self.name(kind) for kind in (*EVENT_KINDS, "state", "control", "feedback", "dead-letters")]


def topics_of(settings: Settings) -> Topics:
    """The topics of a configuration: the shared request topic and one for each tenant that owns one."""
    prefix = settings.kafka.topic_prefix
    shared = RequestTopic(f"{prefix}requests", f"{prefix}responses", f"{prefix}chunks", None)
    owned = {
        tenant.topic: RequestTopic(
            f"{prefix}requests.{tenant.topic}",
            f"{prefix}responses.{tenant.topic}",
            f"{prefix}chunks.{tenant.topic}",
            tenant.id,
            tenant.priority,
            tenant.share,
        )
        for tenant in settings.tenants
        if tenant.topic
    }
    requests = (shared, *owned.values())
    return Topics(prefix, settings.kafka.partitions, requests)


def _definition(topics: Topics, name: str, settings: Settings) -> NewTopic:
    kind = name.removeprefix(topics.prefix).split(".")[0]
    replicas = settings.kafka.replication_factor
    config = {
        # What is acknowledged stands on a majority, so that it outlives whichever broker is lost.
        "min.insync.replicas": str(replicas // 2 + 1),
        "message.timestamp.type": "LogAppendTime",
        LARGEST: str(max(LEAST_RECORD_BYTES, settings.worker.max_request_bytes * 2)),
    }
    partitions = topics.partitions
    if kind in CONTENT_KINDS:
        config["retention.ms"] = str(settings.kafka.content_retention_hours * HOUR_MS)
    elif kind == "state":
        config |= {"cleanup.policy": "compact", "segment.bytes": str(64 * 1024 * 1024), "segment.ms": "600000"}
    elif kind == "control":
        config["retention.ms"] = "-1"
        partitions = 1
    else:
        config["retention.ms"] = str(settings.kafka.event_retention_days * DAY_MS)
    return NewTopic(name, partitions, replicas, topic_configs=config)


async def admin_client(cluster: Cluster) -> AIOKafkaAdminClient:
    """A started admin client. Raises OperationError when no broker answers."""
    admin = AIOKafkaAdminClient(**client_options(cluster), request_timeout_ms=10_000)
    try:
        await admin.start()
    except KafkaConnectionError:
        await admin.close()
        raise OperationError(no_broker(cluster)) from None
    return admin


async def create_topics(topics: Topics, settings: Settings) -> list[str]:
    """Create what is missing; returns the names created. Verifies the number of partitions of what is there."""
    admin = await admin_client(settings.kafka.access)
    try:
        existing = set(await admin.list_topics())
        missing = [name for name in topics.all() if name not in existing]
        if missing:
            response = await admin.create_topics([_definition(topics, name, settings) for name in missing])
            for name, code, *_ in response.topic_errors:
                if code == TopicAlreadyExistsError.errno:
                    # Somebody else's, made a moment ago.
                    existing.add(name)
                elif code:
                    raise OperationError(f"Topic {name} could not be created: {for_code(code).__name__}.")
            await _visible(admin, missing)
        await _verify(admin, topics, settings, [name for name in topics.all() if name in existing])
        return [name for name in missing if name not in existing]
    finally:
        await admin.close()


async def _visible(admin: AIOKafkaAdminClient, names: Iterable[str]) -> None:
    """A broker shows a topic a moment after it said that it had created it."""
    wanted = set(names)
    async with asyncio.timeout(VISIBLE_S):
        while not wanted <= set(await admin.list_topics()):
            await asyncio.sleep(0.05)


async def verify_topics(topics: Topics, settings: Settings) -> dict[str, int]:
    """Topic -> bytes of the largest batch that it takes, where the broker tells. Warns of missing replicas.

    Raises OperationError when topics are missing, ConfigurationError when one has other partitions or settings that no
    reader of the log can do with.
    """
    admin = await admin_client(settings.kafka.access)
    try:
        existing = set(await admin.list_topics())
        missing = [name for name in topics.all() if name not in existing]
        if missing:
            raise OperationError(f"Topics are missing ({', '.join(missing)}); run `turnout topics create`.")
        return await _verify(admin, topics, settings, topics.all())
    finally:
        await admin.close()


async def _verify(
    admin: AIOKafkaAdminClient, topics: Topics, settings: Settings, names: Iterable[str]
) -> dict[str, int]:
    named, thin, kafka = list(names), [], settings.kafka
    for described in await admin.describe_topics(named) if named else []:
        if described["error_code"]:
            # Another broker listed it than the one that is asked now, which has not heard of it yet.
            continue
        expected = 1 if described["topic"] == topics.name("control") else topics.partitions
        found = len(described["partitions"])
        if found != expected:
            raise ConfigurationError(
                f"{described['topic']} has {found} partitions and kafka.partitions is {expected}; the number is fixed at "
                "creation, set kafka.partitions to it or use a new kafka.topic_prefix"
            )
        if any(len(partition["replicas"]) < kafka.replication_factor for partition in described["partitions"]):
            thin.append(described["topic"])
    if thin:
        # No error: replicas can be added while everything runs.
        log.warning(
            "topics have fewer replicas than kafka.replication_factor; reassign their partitions and set min.insync.replicas",
            topics=thin, wanted=kafka.replication_factor,
        )  # fmt: skip
    found_configs = await _configs(admin, named)
    problems = [
        problem
        for name, found in found_configs.items()
        for problem in _unfit(name, found, _definition(topics, name, settings).topic_configs)
    ]
    if problems:
        raise ConfigurationError(*problems)
    return {name: int(found[LARGEST]) for name, found in found_configs.items() if LARGEST in found}


async def _configs(admin: AIOKafkaAdminClient, names: Iterable[str]) -> dict[str, dict[str, str]]:
    """Topic -> its settings. One that may not be asked for, or that the broker asked has not heard of, is left out."""
    answers = await admin.describe_configs([ConfigResource(ConfigResourceType.TOPIC, name) for name in names])
    return {
        name: {entry[0]: entry[1] for entry in entries}
        for answer in answers
        for code, _, _, name, entries in answer.resources
        if code == 0 and entries
    }


def _unfit(name: str, found: Mapping[str, str], wanted: Mapping[str, str]) -> Iterator[str]:
    """What would make the log lie: other clocks, or records that go away though they are needed. A broker of another make may not
    tell all of it.
    """
    for setting in ("message.timestamp.type", "cleanup.policy"):
        right = wanted.get(setting, DEFAULTS.get(setting))
        if (is_set := found.get(setting, right)) != right:
            yield f"{name} has {setting} {is_set}; set it to {right}"
    if wanted.get("retention.ms") == "-1" and (kept := found.get("retention.ms", "-1")) != "-1":
        yield f"{name} has retention.ms {kept}; it is kept for ever, set it to -1"
    if (largest := int(found.get(LARGEST, LEAST_RECORD_BYTES))) < LEAST_RECORD_BYTES:
        yield f"{name} has {LARGEST} {largest}; set it to {LEAST_RECORD_BYTES} or more"

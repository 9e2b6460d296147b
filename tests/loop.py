"""What tests of the whole loop share: settings for a broker, a prefix and simulators, and a user's view of the topics."""

import asyncio
import contextlib
import os
from collections.abc import AsyncIterator, Callable, Collection, Mapping
from pathlib import Path
from typing import Any

import orjson
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition

from schemas.codec import Codec
from schemas.events import Event
from streams.settings import Settings
from streams.topics import create_topics, topics_of

os.environ.setdefault("SIMULATED_KEY", "simulated")


def catalog(base_url: str, names: Mapping[str, str]) -> dict[str, Any]:
    """`names`: deployment -> fallback tier; each is a simulated provider of the same name under `base_url`."""
    return {
        "models": [
            {"id": "sim-mini", "context_window": 128_000, "max_output_tokens": 16_384,
             "capabilities": ["tools", "vision", "json_schema", "streaming"],
             "price_usd_per_million": {"input": 0.25, "output": 2.0}, "quality": {"conversation": 0.8}},
        ],
        "deployments": [
            {"id": name, "provider": "openai_compatible", "model": "sim-mini", "base_url": base_url.format(name=name),
             "api_key": "env:SIMULATED_KEY", "fallback_tier": tier, "timeouts": {"first_byte_s": 5, "total_s": 10}}
            for name, tier in names.items()
        ],
    }  # fmt: skip


def two_models(base_url: str) -> dict[str, Any]:
    """a and b serve sim-mini, c in a lower tier serves sim-big at ten times the price."""
    document = catalog(base_url, {"a": "primary", "b": "primary", "c": "secondary"})
    big = document["models"][0] | {"id": "sim-big", "price_usd_per_million": {"input": 2.5, "output": 20.0}}
    document["models"].append(big)
    document["deployments"][2]["model"] = "sim-big"
    return document


def settings_for(servers: str, prefix: str, catalog: dict[str, Any], **sections: Any) -> Settings:
    """Settings of a small installation: two partitions, short session, fast ticks."""
    document: dict[str, Any] = {
        "kafka": {"bootstrap_servers": servers, "topic_prefix": prefix, "partitions": 2},
        "worker": {"session_timeout_s": 6, "drain_s": 10, "tick_s": 1.0, "snapshot_interval_s": 0.1},
        "web": {"port": 0},
        "catalog": catalog,
        "routing": {
            "strategy": "cost",
            "balancer": "round_robin",
            "cost_strategy": "minimize",
            # Far off: a slow machine must not turn an answer into a missed deadline.
            "default_deadline_ms": 120_000,
        },
    }
    for name, section in sections.items():
        document[name] = document.get(name, {}) | section if isinstance(section, dict) else section
    return Settings(**document)


async def prepared(settings: Settings) -> Settings:
    """Create the topics of these settings."""
    await create_topics(topics_of(settings), settings)
    return settings


def write_settings(settings: Settings, path: Path) -> Path:
    """The settings as a file, for processes."""
    path.write_bytes(orjson.dumps(settings.model_dump(mode="json"), default=sorted))
    return path


class Bench:
    """A user's side of the topics: publishes requests, reads answers and events."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.topics = topics_of(settings)
        self._producer: AIOKafkaProducer | None = None

    async def __aenter__(self) -> "Bench":
        self._producer = AIOKafkaProducer(bootstrap_servers=self.settings.kafka.bootstrap_servers, linger_ms=5,
                                          max_request_size=32 * 1024 * 1024)  # fmt: skip
        await self._producer.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._producer is not None
        await self._producer.stop()

    async def publish(
        self, body: Any, *, request_id: str | None = None, key: str | None = None, topic: str | None = None,
        partition: int | None = None, headers: tuple[tuple[str, bytes], ...] = (),
    ) -> tuple[int, int]:  # fmt: skip
        """Publish a request (bytes as they are, None as a tombstone, anything else as JSON); returns where it stands."""
        assert self._producer is not None
        value = body if body is None or isinstance(body, bytes) else orjson.dumps(body)
        own = ((("request-id", request_id.encode()),) if request_id else ()) + headers
        name = key or request_id
        done = await self._producer.send_and_wait(
            topic or self.topics.requests[0].name, value, key=name.encode() if name else None, partition=partition,
            headers=list(own),
        )  # fmt: skip
        return done.partition, done.offset

    async def records(self, topic: str) -> list[Any]:
        """Every record of a topic as it is now."""
        consumer = AIOKafkaConsumer(bootstrap_servers=self.settings.kafka.bootstrap_servers, fetch_max_wait_ms=20,
                                    max_partition_fetch_bytes=16 * 1024 * 1024)  # fmt: skip
        await consumer.start()
        try:
            await consumer._client._wait_on_metadata(topic)
            partitions = [TopicPartition(topic, number) for number in consumer.partitions_for_topic(topic) or ()]
            consumer.assign(partitions)
            await consumer.seek_to_beginning(*partitions)
            ends = await consumer.end_offsets(partitions)
            found: list[Any] = []
            while any([await consumer.position(tp) < ends[tp] for tp in partitions]):
                for records in (await consumer.getmany(timeout_ms=100)).values():
                    found.extend(records)
            return found
        finally:
            await consumer.stop()

    async def answers(
        self, count: int, timeout_s: float = 60.0, topic: str | None = None
    ) -> list[tuple[dict[str, Any], dict[str, str]]]:
        """Body and headers of every answer, once there are `count`."""
        async with asyncio.timeout(timeout_s):
            while True:
                found = await self.records(topic or self.topics.requests[0].responses)
                if len(found) >= count:
                    return [
                        (orjson.loads(record.value), {name: item.decode() for name, item in record.headers})
                        for record in found
                    ]
                await asyncio.sleep(0.1)

    async def answer_of(self, request_id: str, timeout_s: float = 30.0) -> dict[str, Any]:
        """The first answer that carries this id, on the shared responses topic."""
        return (await self.answers_of({request_id}, timeout_s))[request_id]

    async def answers_of(
        self, request_ids: Collection[str], timeout_s: float = 30.0, topic: str | None = None
    ) -> dict[str, dict[str, Any]]:
        """The first answer of each id, once every one has one."""
        async with asyncio.timeout(timeout_s):
            while True:
                found: dict[str, dict[str, Any]] = {}
                for record in await self.records(topic or self.topics.requests[0].responses):
                    name = dict(record.headers)["request-id"].decode()
                    if name in request_ids:
                        found.setdefault(name, orjson.loads(record.value))
                if len(found) == len(request_ids):
                    return found
                await asyncio.sleep(0.1)

    async def until(self, condition: Callable[[], Any], timeout_s: float = 60.0) -> None:
        """Wait for what this process can see."""
        async with asyncio.timeout(timeout_s):
            while not condition():
                await asyncio.sleep(0.02)

    async def events(self, kind: str) -> list[Event]:
        """Every event of a topic, by partition and offset."""
        return [event for _, event in await self.stamped(kind)]

    async def stamped(self, kind: str) -> list[tuple[int, Event]]:
        """The same, each with the broker's time of it in microseconds."""
        codec = Codec()
        found = sorted(await self.records(self.topics.name(kind)), key=lambda record: (record.partition, record.offset))
        decoded = [
            (record.timestamp * 1000, codec.decode(record.value)) for record in found if record.value is not None
        ]
        return [(at, event) for at, event in decoded if isinstance(event, Event)]


@contextlib.asynccontextmanager
async def running(settings: Settings, **options: Any) -> AsyncIterator[Any]:
    """A worker in this process."""
    from streams.worker import running_worker

    async with running_worker(settings, **options) as worker:
        yield worker


def chat(text: str = "Say hello.", **routing: Any) -> dict[str, Any]:
    """A small request."""
    body: dict[str, Any] = {"messages": [{"role": "user", "content": text}]}
    return body | ({"routing": routing} if routing else {})

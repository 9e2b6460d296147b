"""Publishers as Kafka allows them: compressed batches, and transactions, whose markers take offsets that no reader ever sees."""

import asyncio

import orjson
import pytest
from aiokafka import AIOKafkaProducer, TopicPartition
from loop import Bench, catalog, chat, prepared, running, settings_for

from infra.kafka import EmbeddedKafka
from infra.simulators.script import ProviderScript
from infra.simulators.server import start_simulators
from streams.reader import group_less

TIMEOUT_S = 60


async def test_a_worker_begins_where_only_a_marker_follows(kafka: EmbeddedKafka, prefix: str) -> None:
    """What is committed may lie before the marker that ends the log: there is no record to wait for."""
    async with await start_simulators({"a": ProviderScript(latency_ms=5)}) as simulators:
        base = simulators.base_url("a").replace("/a/", "/{name}/")
        settings = await prepared(settings_for(kafka.bootstrap_servers, prefix, catalog(base, {"a": "primary"})))
        async with Bench(settings) as bench:
            requests = bench.topics.requests[0].name
            producer = AIOKafkaProducer(bootstrap_servers=kafka.bootstrap_servers, transactional_id=f"{prefix}writer")
            await producer.start()
            async with producer.transaction():
                for partition in range(2):
                    await producer.send(requests, orjson.dumps(chat()), key=b"k%d" % partition, partition=partition,
                                        headers=[("request-id", b"marked-%d" % partition)])  # fmt: skip
            await producer.stop()
            async with running(settings):
                await bench.answers_of({"marked-0", "marked-1"})
            async with asyncio.timeout(TIMEOUT_S), group_less(kafka.bootstrap_servers) as consumer:
                ends = await consumer.end_offsets([TopicPartition(requests, number) for number in range(2)])
            assert set(ends.values()) == {2}, "each partition ends with a marker"
            async with running(settings):
                for number in range(2):
                    await bench.publish(chat(), request_id=f"after-{number}", partition=number)
                await bench.answers_of({"after-0", "after-1"})
            answers = await bench.records(bench.topics.requests[0].responses)
            assert len(answers) == 4


@pytest.mark.parametrize("codec", ["gzip", "snappy", "lz4", "zstd"])
async def test_a_compressed_request_is_read(kafka: EmbeddedKafka, prefix: str, codec: str) -> None:
    async with await start_simulators({"a": ProviderScript(latency_ms=5)}) as simulators:
        base = simulators.base_url("a").replace("/a/", "/{name}/")
        settings = await prepared(settings_for(kafka.bootstrap_servers, prefix, catalog(base, {"a": "primary"})))
        async with (
            Bench(settings) as bench, running(settings),
            AIOKafkaProducer(bootstrap_servers=kafka.bootstrap_servers, compression_type=codec, linger_ms=50) as producer,
        ):  # fmt: skip
            sent = [
                await producer.send(bench.topics.requests[0].name, orjson.dumps(chat("Hello. " * 200)), partition=0,
                                    headers=[("request-id", f"packed-{number}".encode())])
                for number in range(3)
            ]  # fmt: skip
            await asyncio.gather(*sent)
            answers = await bench.answers_of({f"packed-{number}" for number in range(3)})
    assert {answer["routing"]["status"] for answer in answers.values()} == {"ok"}

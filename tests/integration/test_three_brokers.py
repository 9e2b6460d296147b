"""A cluster of three brokers: whichever is killed, what was acknowledged stands, and requests go on being answered."""

import asyncio
from collections import Counter
from collections.abc import Iterator

import pytest
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType
from loop import Bench, catalog, chat, prepared, running, settings_for
from structlog.testing import capture_logs

from infra.kafka_cluster import EmbeddedCluster
from infra.simulators.script import ProviderScript
from infra.simulators.server import start_simulators
from streams.topics import admin_client, topics_of, verify_topics

EACH = 20


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmbeddedCluster]:
    folder = tmp_path_factory.mktemp("cluster")
    brokers = EmbeddedCluster(folder, 3, properties={}, logs=folder / "logs")
    try:
        brokers.start(120)
        yield brokers
    finally:
        brokers.stop()


async def replicas_of(servers: str, topic: str) -> tuple[set[int], int]:
    """On how many brokers each partition stands, and on how many a record must before it is acknowledged."""
    admin = await admin_client(servers)
    try:
        values: dict[str, str] = {}
        async with asyncio.timeout(60):
            # The broker that is asked may not have heard of the topic yet, and then says nothing of it.
            while "min.insync.replicas" not in values:
                (described,) = await admin.describe_topics([topic])
                answers = await admin.describe_configs([ConfigResource(ConfigResourceType.TOPIC, topic)])
                (entries,) = [resource[-1] for answer in answers for resource in answer.resources]
                values = {entry[0]: entry[1] for entry in entries}
        return {len(partition["replicas"]) for partition in described["partitions"]}, int(values["min.insync.replicas"])
    finally:
        await admin.close()


async def test_topics_with_too_few_replicas_are_named(cluster: EmbeddedCluster) -> None:
    document = catalog("http://127.0.0.1:1/{name}", {})
    settings = await prepared(settings_for(cluster.bootstrap_servers, "thin.", document))
    wanted = settings.model_copy(update={"kafka": settings.kafka.model_copy(update={"replication_factor": 3})})
    with capture_logs() as said:
        await verify_topics(topics_of(settings), settings)
        assert not said
        await verify_topics(topics_of(settings), wanted)
    (warning,) = said
    assert set(warning["topics"]) == set(topics_of(settings).all())


async def test_requests_are_answered_while_brokers_die(cluster: EmbeddedCluster) -> None:
    async with await start_simulators({"a": ProviderScript(latency_ms=5)}) as simulators:
        base = simulators.base_url("a").replace("/a/", "/{name}/")
        settings = await prepared(settings_for(
            cluster.bootstrap_servers, "three.", catalog(base, {"a": "primary"}), kafka={"replication_factor": 3}
        ))  # fmt: skip
        async with Bench(settings) as bench:
            requests = bench.topics.requests[0]
            assert await replicas_of(cluster.bootstrap_servers, requests.name) == ({3}, 2)
            async with running(settings):
                for turn in range(3):
                    cluster.kill()
                    wanted = {f"r-{turn}-{number}" for number in range(EACH)}
                    for request_id in wanted:
                        await bench.publish(chat(), request_id=request_id)
                    answers = await bench.answers_of(wanted, timeout_s=90)
                    assert {answer["routing"]["status"] for answer in answers.values()} == {"ok"}
                    cluster.start(120)
            counted = Counter(dict(record.headers)["request-id"] for record in await bench.records(requests.responses))
    assert len(counted) == 3 * EACH
    assert set(counted.values()) == {1}

"""The user's client on a real broker: which answer it takes, and which chunks."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import orjson
import pytest
from aiokafka import AIOKafkaProducer

from infra.kafka import EmbeddedKafka
from schemas.errors import OperationError
from streams.client import TurnoutClient
from streams.reader import group_less, partitions_of, read_to_end
from streams.settings import Settings
from streams.topics import create_topics, topics_of

BODY = {"messages": [{"role": "user", "content": "Hello"}]}


@pytest.fixture
async def settings(kafka: EmbeddedKafka, prefix: str) -> Settings:
    made = Settings.model_validate(
        {"kafka": {"bootstrap_servers": kafka.bootstrap_servers, "topic_prefix": prefix, "partitions": 2}}
    )
    await create_topics(topics_of(made), made)
    return made


@pytest.fixture
async def producer(kafka: EmbeddedKafka) -> AsyncIterator[AIOKafkaProducer]:
    async with AIOKafkaProducer(bootstrap_servers=kafka.bootstrap_servers) as started:
        yield started


def client_of(settings: Settings) -> TurnoutClient:
    return TurnoutClient(settings.kafka.bootstrap_servers, settings.kafka.topic_prefix)


async def request_of(settings: Settings, request_id: str) -> Any:
    """The record of a request, once it stands in the topic."""
    async with group_less(settings.kafka.bootstrap_servers) as consumer:
        partitions = await partitions_of(consumer, f"{settings.kafka.topic_prefix}requests")
        consumer.assign(partitions)
        await consumer.seek_to_beginning(*partitions)
        while True:
            record = await consumer.getone()
            if dict(record.headers)["request-id"] == request_id.encode():
                return record


async def reply(
    settings: Settings, producer: AIOKafkaProducer, request: Any, body: dict[str, Any], kind: str = "responses",
    **headers: str,
) -> None:  # fmt: skip
    own = {
        "request-id": dict(request.headers)["request-id"].decode(),
        "turnout-source": f"{request.topic}-{request.partition}-{request.offset}", "turnout-retryable": "false",
    } | {name.replace("_", "-"): value for name, value in headers.items()}  # fmt: skip
    await producer.send_and_wait(
        f"{settings.kafka.topic_prefix}{kind}", orjson.dumps(body), key=request.key, partition=request.partition,
        headers=[(name, value.encode()) for name, value in own.items()],
    )  # fmt: skip


async def test_the_first_answer_wins(settings: Settings, producer: AIOKafkaProducer) -> None:
    async with client_of(settings) as client:
        request_id = await client.send(BODY, headers={"team": "search"})
        request = await request_of(settings, request_id)
        assert request.key == request_id.encode()
        assert dict(request.headers)["team"] == b"search"
        assert orjson.loads(request.value) == BODY
        await reply(settings, producer, request, {"n": 0}, request_id="r-other")
        await reply(settings, producer, request, {"n": 1})
        await reply(settings, producer, request, {"n": 2})
        assert await client.answer(request_id, 30) == {"n": 1}
        assert await client.answer(request_id, 30) == {"n": 1}
    async with client_of(settings) as later:
        assert await later.answer(request_id, 30) == {"n": 1}


async def test_an_id_published_again_has_the_answer_it_had(settings: Settings, producer: AIOKafkaProducer) -> None:
    async with client_of(settings) as client:
        first = await client.send(BODY, request_id="r-1")
        await reply(settings, producer, await request_of(settings, first), {"n": 1})
        assert await client.answer("r-1", 30) == {"n": 1}
    async with client_of(settings) as client:
        assert await client.chat(BODY, request_id="r-1", timeout_s=30) == {"n": 1}


async def test_a_retryable_error_of_an_earlier_publication_does_not_count(
    settings: Settings, producer: AIOKafkaProducer
) -> None:
    async with client_of(settings) as client:
        first = await client.send(BODY, request_id="r-1")
        request = await request_of(settings, first)
        await reply(settings, producer, request, {"error": {"code": "throttled"}}, turnout_retryable="true")
        assert "error" in await client.answer("r-1", 30)
        await client.send(BODY, request_id="r-1")
        source = f"{request.topic}-{request.partition}-{request.offset + 1}"
        await reply(settings, producer, request, {"n": 2}, turnout_source=source)
        assert await client.answer("r-1", 30) == {"n": 2}


async def test_a_late_answer_is_an_operation_error(settings: Settings) -> None:
    async with client_of(settings) as client:
        with pytest.raises(OperationError, match="No final answer of r-9 within"):
            await client.chat(BODY, request_id="r-9", timeout_s=0.5)
        assert not client._waiting


async def test_who_waits_is_told_when_reading_ends(settings: Settings) -> None:
    async with client_of(settings) as client:
        await client.send(BODY, request_id="r-1")
        answering = asyncio.create_task(client.answer("r-1", 30))
        await asyncio.sleep(0.5)
        for reader in client._readers.values():
            reader.cancel()
        with pytest.raises(OperationError, match="connect anew"):
            await answering


async def test_a_topic_that_is_not_there(settings: Settings) -> None:
    async with client_of(settings) as client:
        with pytest.raises(OperationError, match="does not exist"):
            await client.send(BODY, topic="nobody")


def chunk(run: int, attempt: int, sequence: int, text: str, *, last: bool = False) -> dict[str, Any]:
    routing = {"request_id": "r-1", "run": run, "attempt": attempt, "sequence": sequence, "last": last}
    return {"choices": [{"delta": {"content": text}}], "routing": routing}


async def test_a_stream_drops_what_was_given_up(settings: Settings, producer: AIOKafkaProducer) -> None:
    async def answered() -> None:
        request = await request_of(settings, "r-1")
        for body in (
            chunk(5, 1, 0, "Hel"), chunk(5, 2, 0, "Goo"), chunk(5, 1, 1, "lo"), chunk(5, 2, 0, "Goo"),
            chunk(9, 1, 0, "Good"), chunk(5, 2, 1, "d"), chunk(9, 1, 1, "bye", last=True),
        ):  # fmt: skip
            await reply(settings, producer, request, body, "chunks")

    text, restarts = "", 0
    async with client_of(settings) as client:
        answering = asyncio.create_task(answered())
        async for piece in client.stream(BODY, request_id="r-1", timeout_s=30):
            restarts += piece.restart
            text = piece.text if piece.restart else text + piece.text
        await answering
    assert (text, restarts) == ("Goodbye", 2)


async def test_an_answer_that_is_read_before_the_last_chunk_restarts_nothing(
    settings: Settings, producer: AIOKafkaProducer
) -> None:
    """The two topics are read side by side; which comes first says nothing."""
    seen = asyncio.Event()

    async def answered() -> None:
        request = await request_of(settings, "r-1")
        await reply(settings, producer, request, chunk(5, 1, 0, "Good"), "chunks")
        await seen.wait()
        await reply(settings, producer, request, {"n": 1})
        assert await client.answer("r-1", 30) == {"n": 1}
        await reply(settings, producer, request, chunk(5, 1, 1, "bye", last=True), "chunks")

    pieces = []
    async with client_of(settings) as client:
        answering = asyncio.create_task(answered())
        async for piece in client.stream(BODY, request_id="r-1", timeout_s=30):
            pieces.append((piece.text, piece.restart, piece.last))
            seen.set()
        await answering
    assert pieces == [("Good", False, False), ("bye", False, True)]


async def test_an_answer_is_given_though_its_chunks_are_read_no_more(
    settings: Settings, producer: AIOKafkaProducer
) -> None:
    async def answered() -> None:
        request = await request_of(settings, "r-1")
        await reply(settings, producer, request, {"n": 1})
        assert await client.answer("r-1", 30) == {"n": 1}
        # The stream has looked at its answer when it waits for the last chunk.
        await asyncio.sleep(0.2)
        next(reader for topic, reader in client._readers.items() if "chunks" in topic).cancel()

    async with client_of(settings) as client:
        answering = asyncio.create_task(answered())
        pieces = [piece async for piece in client.stream(BODY, request_id="r-1", timeout_s=30)]
        await answering
    assert [(piece.body, piece.last) for piece in pieces] == [({"n": 1}, True)]


async def test_an_error_before_the_stream_ends_it(settings: Settings, producer: AIOKafkaProducer) -> None:
    async def answered() -> None:
        request = await request_of(settings, "r-1")
        assert orjson.loads(request.value)["stream"] is True
        await reply(settings, producer, request, {"error": {"code": "invalid_request"}})

    async with client_of(settings) as client:
        answering = asyncio.create_task(answered())
        pieces = [piece async for piece in client.stream(BODY, request_id="r-1", timeout_s=30)]
        await answering
    assert [(piece.last, piece.restart, piece.body["error"]["code"]) for piece in pieces] == [
        (True, False, "invalid_request")
    ]


async def test_who_is_cancelled_while_a_reader_closes_ends(settings: Settings) -> None:
    """As a stream does whose last chunk comes while its answer is still looked for among earlier ones."""
    closing = asyncio.Event()

    async def reading() -> None:
        async with group_less(settings.kafka.access) as consumer:
            async for _ in read_to_end(
                consumer, await partitions_of(consumer, settings.kafka.topic_prefix + "control")
            ):
                pass
            closing.set()
        await asyncio.Event().wait()

    for rounds in range(12):
        closing.clear()
        task = asyncio.create_task(reading())
        await closing.wait()
        for _ in range(rounds):
            await asyncio.sleep(0)
        task.cancel()
        await asyncio.wait({task}, timeout=30)
        assert task.cancelled(), f"the cancellation after {rounds} rounds of the loop was lost"

"""A broker that resets a connection, on the loop that workers run on."""

import asyncio
import socket
import struct
from collections import Counter

import pytest
import uvloop
from aiokafka.conn import create_conn
from aiokafka.errors import KafkaConnectionError
from aiokafka.protocol.metadata import MetadataRequest

from infra.kafka import EmbeddedKafka
from streams.connections import Connection, MayNotWrite

WITH_A_RESET = struct.pack("ii", 1, 0)
"""SO_LINGER: a close throws away what was not sent and resets the connection."""


async def _pass_on(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while data := await reader.read(65536):
        writer.write(data)
    writer.close()


async def _sent_around_a_reset(broker: str) -> Counter[str]:
    """What became of requests that were sent in every turn of the loop until a reset was known, by the cause of the error."""
    host, _, port = broker.partition(":")
    accepted: list[asyncio.StreamWriter] = []

    async def between(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        accepted.append(writer)
        from_broker, to_broker = await asyncio.open_connection(host, int(port))
        await asyncio.gather(_pass_on(reader, to_broker), _pass_on(from_broker, writer), return_exceptions=True)

    async with await asyncio.start_server(between, "127.0.0.1", 0) as server:
        connection = await create_conn("127.0.0.1", server.sockets[0].getsockname()[1], request_timeout_ms=5000)
        assert isinstance(connection, Connection)
        assert (await connection.send(MetadataRequest([]))).brokers
        accepted[0].get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, WITH_A_RESET)
        accepted[0].transport.abort()
        outcomes: Counter[str] = Counter()
        waiting = []
        while connection.connected():
            try:
                waiting.append(asyncio.ensure_future(connection.send(MetadataRequest([]))))
            except KafkaConnectionError as error:
                outcomes[type(error.__cause__).__name__] += 1
            await asyncio.sleep(0)
        with pytest.raises(KafkaConnectionError, match="No connection"):
            connection.send(MetadataRequest([]))
        for outcome in await asyncio.gather(*waiting, return_exceptions=True):
            assert isinstance(outcome, KafkaConnectionError), outcome
        return outcomes


def test_whoever_sends_around_a_reset_learns_that_the_connection_broke(kafka: EmbeddedKafka) -> None:
    outcomes: Counter[str] = Counter()
    for _ in range(20):
        outcomes += uvloop.run(_sent_around_a_reset(kafka.bootstrap_servers))
    # Without the translation it is uvloop's error that comes.
    assert outcomes.keys() == {"RuntimeError"}


async def test_what_may_not_be_written_is_refused_and_the_connection_goes_on(kafka: EmbeddedKafka) -> None:
    host, _, port = kafka.bootstrap_servers.partition(":")
    connection = await create_conn(host, int(port), request_timeout_ms=5000)
    refused, allowed = MetadataRequest([]), MetadataRequest([])
    refused.may_write, allowed.may_write = lambda: False, lambda: True
    with pytest.raises(MayNotWrite):
        connection.send(refused)
    assert (await connection.send(allowed)).brokers
    connection.close()

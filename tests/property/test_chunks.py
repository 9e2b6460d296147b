"""When the chunks of a streamed answer leave, in virtual time: the first token at once, then one record every 50 ms at most."""

import asyncio
import itertools
import random
from collections.abc import Awaitable, Iterable
from typing import Any

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from simulation.virtual import VirtualLoop

from agents.chunks import INTERVAL_S, Chunks, Delta
from agents.ports import RequestRecord, Sealed
from schemas.errors import RequestError
from schemas.ids import Source

RECORD = RequestRecord(Source("r", 0, 7), 3, None, None, (), 0)
gaps_ms = st.lists(st.integers(0, 120), min_size=1, max_size=40)


class Moments:
    """A ChunkLog that keeps every record with the moment it was handed over, which takes so long, in turn."""

    def __init__(self, takes_ms: Iterable[int] = (0,)) -> None:
        self._takes_ms = itertools.cycle(takes_ms)
        self.sent: list[tuple[float, Delta]] = []

    def seal_chunk(self, record: RequestRecord, body: Delta, request_id: str) -> Sealed:
        """Raises TypeError where no JSON says it."""
        return Sealed("c", 0, None, orjson.dumps(body), [])

    async def chunk(self, sealed: Sealed) -> Awaitable[object]:
        loop = asyncio.get_running_loop()
        self.sent.append((loop.time(), orjson.loads(sealed.value)))
        await asyncio.sleep(next(self._takes_ms) / 1000)
        done = loop.create_future()
        done.set_result(None)
        return done

    def of(self, attempt: int) -> list[tuple[float, Delta]]:
        return [(at, body) for at, body in self.sent if body["routing"]["attempt"] == attempt]


def token(text: str) -> Delta:
    return {"choices": [{"index": 0, "delta": {"content": text}}]}


def text_of(sent: list[tuple[float, Delta]]) -> str:
    return "".join(choice["delta"].get("content", "") for _, body in sent for choice in body["choices"])


async def stream(chunks: Chunks, attempt: int, gaps: list[int]) -> float:
    """One attempt's tokens; the moment of the first. A role alone is no token."""
    chunks.begin(attempt, "m")
    await chunks.take({"choices": [{"index": 0, "delta": {"role": "assistant"}}]})
    await asyncio.sleep(1.0)
    first = asyncio.get_running_loop().time()
    for number, gap in enumerate(gaps):
        await chunks.take(token(f"{attempt}.{number} "))
        await asyncio.sleep(gap / 1000)
    await chunks.take({"choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]})
    return first


def played(broken: list[int], whole: list[int], takes_ms: Iterable[int] = (0,)) -> tuple[Moments, list[float]]:
    """A first attempt that breaks and a second one to its end."""
    log, firsts = Moments(takes_ms), []

    async def play() -> None:
        await asyncio.sleep(1.0)
        chunks = Chunks(log, RECORD, "q")
        firsts.append(await stream(chunks, 1, broken))
        firsts.append(await stream(chunks, 2, whole))
        await chunks.settle()
        await chunks.end(None)

    VirtualLoop(random.Random(1)).run(play())
    return log, firsts


@given(gaps_ms, gaps_ms)
def test_the_first_token_leaves_at_once_and_later_ones_at_most_every_50_ms(broken: list[int], whole: list[int]) -> None:
    log, firsts = played(broken, whole)
    for attempt, first in enumerate(firsts, 1):
        sent = log.of(attempt)
        assert sent[0][0] == first
        assert text_of(sent[:1]) == f"{attempt}.0 "
        moments = [at for at, body in sent if not body["routing"]["last"]]
        assert all(later - earlier > INTERVAL_S - 1e-9 for earlier, later in itertools.pairwise(moments))
        assert [body["routing"]["sequence"] for _, body in sent] == list(range(len(sent)))


@given(gaps_ms, gaps_ms)
def test_nothing_of_an_attempt_is_lost_and_one_record_ends_it(broken: list[int], whole: list[int]) -> None:
    log, _ = played(broken, whole)
    sent = log.of(2)
    assert text_of(sent) == "".join(f"2.{number} " for number in range(len(whole)))
    endings = [body for _, body in log.sent if body["routing"]["last"]]
    assert endings == [sent[-1][1]]
    finished = [choice.get("finish_reason") for _, body in sent for choice in body["choices"]]
    assert finished[-1] == "stop"
    assert not any(finished[:-1])


@given(gaps_ms)
def test_what_a_broken_attempt_held_is_never_sent_later(broken: list[int]) -> None:
    log, _ = played(broken, [0])
    sent: list[Any] = [body for _, body in log.sent]
    attempts = [body["routing"]["attempt"] for body in sent]
    assert attempts == sorted(attempts)
    assert all(text.startswith("1.") for text in text_of(log.of(1)).split())


@settings(max_examples=300)
@given(gaps_ms, gaps_ms, st.lists(st.integers(0, 300), min_size=1, max_size=4))
def test_where_the_broker_is_slow_no_record_is_empty_and_nothing_is_lost(
    broken: list[int], whole: list[int], takes_ms: list[int]
) -> None:
    log, _ = played(broken, whole, takes_ms)
    assert all(body["choices"] for _, body in log.sent if not body["routing"]["last"])
    for attempt in (1, 2):
        sequence = [body["routing"]["sequence"] for _, body in log.of(attempt)]
        assert sequence == list(range(len(sequence)))
    assert text_of(log.of(2)) == "".join(f"2.{number} " for number in range(len(whole)))


@given(gaps_ms, st.booleans())
def test_what_cannot_be_written_is_told_before_the_end(gaps: list[int], late: bool) -> None:
    """Also where the timer came upon it: the stream ends once, with the error."""
    log = Moments()

    async def finished(chunks: Chunks) -> None:
        await chunks.take({"choices": [{"index": 0, "delta": {"content": 2**70}}]})
        await asyncio.sleep(1.0 if late else 0.0)
        await chunks.settle()

    async def play() -> None:
        chunks = Chunks(log, RECORD, "q")
        await stream(chunks, 1, gaps)
        with pytest.raises(TypeError):
            await finished(chunks)
        await chunks.end(RequestError("internal", "It failed."))

    VirtualLoop(random.Random(1)).run(play())
    *before, last = [body for _, body in log.sent]
    assert not any(body["routing"]["last"] for body in before)
    assert last["routing"]["last"]
    assert last["error"]["code"] == "internal"

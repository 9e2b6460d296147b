"""What a simulated provider does when a fault says so: the wire, the body, the pace or the stream goes wrong."""

from __future__ import annotations

import asyncio
import re
import zlib
from dataclasses import dataclass, replace
from functools import cache
from typing import Final

from infra.simulators.exchange import JSON, Exchange

BOMB_BYTES: Final = 200_000_000
# Where the three formats keep text, or at least a name.
_STRINGS: Final = (b'"content":"', b'"text":"', b'"model":"', b'"modelVersion":"')
_NUMBER: Final = re.compile(rb'("(?:index|output_tokens|totalTokenCount)":)\d+')


@dataclass(frozen=True, slots=True, kw_only=True)
class Setting:
    """A fault switched on for a share of requests until a moment (loop time; None: until cleared).

    seconds: what slow and slow_first_byte add (5), or trickle's pause a byte (1). stall_after: text chunks sent
    before a stream fault (half of them). retry_after_s: of a status fault.
    """

    name: str
    share: float = 1.0
    until: float | None = None
    seconds: float | None = None
    stall_after: int | None = None
    retry_after_s: float | None = None


async def refuse(exchange: Exchange, how: Setting) -> None:
    """Reset before the body is read. The port is shared by all providers, so the connect itself still succeeds."""
    await exchange.reset()


async def reset_before_headers(exchange: Exchange, how: Setting) -> None:
    """The body is read, time passes, then a reset: the caller cannot know whether it was billed. It was not."""
    await exchange.wait(exchange.first_token_s())
    await exchange.reset()


async def reset_after_headers(exchange: Exchange, how: Setting) -> None:
    """A 200 and its headers, then a reset; billed."""
    content_type, body = exchange.whole()
    exchange.bill()
    await exchange.wait(exchange.whole_s())
    exchange.write(exchange.head(200, content_type, len(body)))
    await exchange.reset(flush=True)


async def half_body(exchange: Exchange, how: Setting) -> None:
    """Half of the promised bytes, then an orderly close; billed."""
    content_type, body = exchange.whole()
    exchange.bill()
    await exchange.wait(exchange.whole_s())
    exchange.write(exchange.head(200, content_type, len(body)) + body[: len(body) // 2])
    await exchange.cut()


async def _damaged(exchange: Exchange, content_type: bytes, body: bytes, more: bytes = b"") -> None:
    """Send these bytes as a billed 200."""
    exchange.bill()
    await exchange.wait(exchange.whole_s())
    exchange.respond(200, body, content_type, more)


async def garbage(exchange: Exchange, how: Setting) -> None:
    """A 200 that says JSON and is not."""
    await _damaged(exchange, JSON, b"upstream connected, but the answer is {not json\n")


async def wrong_content_type(exchange: Exchange, how: Setting) -> None:
    """A page of a proxy in place of the answer."""
    await _damaged(exchange, b"text/html", b"<html><body>It works!</body></html>")


async def invalid_utf8(exchange: Exchange, how: Setting) -> None:
    """Two bytes in a string that no UTF-8 text holds."""
    content_type, body = exchange.whole()
    mark = next(mark for mark in _STRINGS if mark in body)
    await _damaged(exchange, content_type, body.replace(mark, mark + b"\xff\xfe"))


async def nan(exchange: Exchange, how: Setting) -> None:
    """A number that is not JSON."""
    content_type, body = exchange.whole()
    await _damaged(exchange, content_type, _NUMBER.sub(rb"\1NaN", body))


async def error_in_200(exchange: Exchange, how: Setting) -> None:
    """An error body with status 200; not billed."""
    await exchange.wait(exchange.first_token_s())
    wire = exchange.format
    exchange.respond(200, wire.error(wire.REFUSALS["server_error"], exchange.request_id))


async def redirect(exchange: Exchange, how: Setting) -> None:
    """A 307 to a path that does not exist here."""
    exchange.respond(307, b"", b"text/plain", b"location: /elsewhere\r\n")


async def gzip_bomb(exchange: Exchange, how: Setting) -> None:
    """200 KB that inflate to 200 MB, whatever encodings the caller accepts."""
    bomb = await asyncio.to_thread(_bomb)
    await _damaged(exchange, JSON, bomb, b"content-encoding: gzip\r\n")


@cache
def _bomb() -> bytes:
    # A megabyte at a time: the bomb is for the caller's memory.
    block = bytes(1_000_000)
    packer = zlib.compressobj(9, zlib.DEFLATED, 16 + zlib.MAX_WBITS)
    parts = [packer.compress(block) for _ in range(BOMB_BYTES // len(block))]
    return b"".join(parts) + packer.flush()


async def slow(exchange: Exchange, how: Setting) -> None:
    """The first byte in time, the whole later by `seconds`."""
    more = 5.0 if how.seconds is None else how.seconds
    answer = exchange.answer
    if exchange.asked.stream:
        await exchange.stream(answer, stretch_s=more)
        return
    exchange.bill(answer)
    body = exchange.plain()
    await exchange.wait(exchange.whole_s())
    exchange.write(exchange.head(200, JSON, len(body)))
    await exchange.wait(exchange.whole_s() + more)
    exchange.write(body)


async def slow_first_byte(exchange: Exchange, how: Setting) -> None:
    """Nothing for `seconds` more, then all as usual."""
    more = 5.0 if how.seconds is None else how.seconds
    if exchange.asked.stream:
        await exchange.stream(exchange.answer, delay_s=more)
        return
    exchange.bill()
    await exchange.wait(exchange.whole_s() + more)
    exchange.respond(200, exchange.plain())


async def trickle(exchange: Exchange, how: Setting) -> None:
    """A byte a second: every read is in time, the whole never is."""
    pause = 1.0 if how.seconds is None else how.seconds
    content_type, body = exchange.whole()
    exchange.bill()
    await exchange.wait(exchange.first_token_s())
    exchange.write(exchange.head(200, content_type, len(body)))
    for at in range(len(body)):
        exchange.write(body[at : at + 1])
        await asyncio.sleep(pause)


async def hang(exchange: Exchange, how: Setting) -> None:
    """No answer, until the caller leaves; not billed."""
    await asyncio.Event().wait()


async def empty_completion(exchange: Exchange, how: Setting) -> None:
    """A good answer without text; its prompt is billed."""
    blank = replace(
        exchange.answer, pieces=(), piece_tokens=(), finish="stop", calls=(), reasoning_tokens=0, thought=()
    )
    await exchange.deliver(blank)


async def content_filter(exchange: Exchange, how: Setting) -> None:
    """The answer breaks off where the provider's filter stopped it."""
    full = exchange.answer
    pieces, counts = full.pieces, full.piece_tokens
    if len(pieces) == 1:
        words = pieces[0].split(" ")
        pieces, counts = (" ".join(words[: len(words) // 2]),), (len(words) // 2,)
    else:
        pieces, counts = pieces[: len(pieces) // 2], counts[: len(pieces) // 2]
    await exchange.deliver(replace(full, pieces=pieces, piece_tokens=counts, finish="content_filter", calls=()))


async def prompt_blocked(exchange: Exchange, how: Setting) -> None:
    """The provider's filter refuses the prompt: an error where the format has one for it, else an answer without text."""
    refusal = exchange.format.REFUSALS.get(how.name)
    if refusal is not None:
        await exchange.wait(exchange.first_token_s())
        exchange.refuse(refusal)
        return
    nothing = replace(
        exchange.answer, pieces=(), piece_tokens=(), finish=how.name, calls=(), reasoning_tokens=0, thought=()
    )
    await exchange.deliver(nothing)


async def _part(exchange: Exchange, how: Setting) -> None:
    """Send the role and the first text chunks of a stream."""
    answer = exchange.answer
    frames = exchange.frames(answer)
    body, opening = frames.body, frames.opening
    texts = (len(body) - opening) // 2 if how.stall_after is None else how.stall_after
    await exchange.stream_body(answer, body[: opening + texts])


async def stream_cut(exchange: Exchange, how: Setting) -> None:
    """The connection ends in the middle of a stream, without the last chunk of HTTP."""
    await _part(exchange, how)
    await exchange.cut()


async def stream_stall(exchange: Exchange, how: Setting) -> None:
    """Nothing more comes after a part, and nothing closes."""
    await _part(exchange, how)
    await asyncio.Event().wait()


async def stream_error_event(exchange: Exchange, how: Setting) -> None:
    """An error as an event after a part, then a clean end."""
    await _part(exchange, how)
    wire = exchange.format
    exchange.chunk(wire.error_event(wire.REFUSALS["server_error"], exchange.request_id))
    exchange.end_chunks()


async def stream_no_finish(exchange: Exchange, how: Setting) -> None:
    """All text and a clean end, but neither a finish reason nor a terminator."""
    answer = exchange.answer
    await exchange.wait(await exchange.stream_body(answer, exchange.frames(answer).body))
    exchange.end_chunks()

"""One request on its connection: its timing, its bytes and what it costs."""

from __future__ import annotations

import asyncio
import socket
import struct
from collections.abc import Callable
from dataclasses import dataclass, field
from time import time
from typing import Final

from aiohttp import web
from aiohttp.abc import AbstractStreamWriter

from infra.simulators.script import ProviderScript
from infra.simulators.wire import Answer, Ask, Format, Frames, Refusal

# Below this a sleep costs more than it delays: chunks due together are sent together.
_TICK_S: Final = 0.002
# Time for what was written to leave the process before its connection is cut.
_FLUSH_S: Final = 0.02
_RESET_ON_CLOSE: Final = struct.pack("ii", 1, 0)
_REASONS: Final = {200: b"OK", 307: b"Temporary Redirect", 400: b"Bad Request", 429: b"Too Many Requests"}
JSON: Final = b"application/json"
SSE: Final = b"text/event-stream; charset=utf-8"


class Sent(web.StreamResponse):
    """Tells aiohttp that the exchange has written its own bytes; faults need that, and it spares a response object."""

    def __init__(self, keep: bool) -> None:
        super().__init__()
        self._keep_alive = keep

    async def prepare(self, request: web.BaseRequest) -> AbstractStreamWriter | None:
        """Nothing is left to write."""
        return None

    async def write_eof(self, data: bytes = b"") -> None:
        """Nothing is left to write."""


SENT_KEEP: Final = Sent(keep=True)
SENT_CLOSE: Final = Sent(keep=False)


@dataclass(slots=True)
class Exchange:
    """Owns the writing side of a connection while a request lasts. ConnectionResetError: the client is gone.

    started is the loop's time; latency_s the drawn time of the whole answer; draw uniform in [0, 1).
    """

    request: web.BaseRequest
    format: Format
    script: ProviderScript
    started: float
    request_id: str
    answer_id: str
    common_headers: bytes
    latency_s: float
    make_answer: Callable[[Ask], Answer]
    ask: Ask | None = None
    status: int = 0
    prompt_tokens: int = 0
    completion_tokens: int = 0
    cached_tokens: int = 0
    keep: bool = True
    _answer: Answer | None = field(default=None)

    @property
    def asked(self) -> Ask:
        assert self.ask is not None, "the request is read before it is answered"
        return self.ask

    @property
    def answer(self) -> Answer:
        """The answer as it would be without a fault."""
        if self._answer is None:
            self._answer = self.make_answer(self.asked)
        return self._answer

    def plain(self, answer: Answer | None = None) -> bytes:
        return self.format.plain(self.asked, answer or self.answer, self.answer_id, int(time()))

    def frames(self, answer: Answer | None = None) -> Frames:
        return self.format.frames(self.asked, answer or self.answer, self.answer_id, int(time()))

    def whole(self, answer: Answer | None = None) -> tuple[bytes, bytes]:
        """(content type, body) of the answer in the form that was asked for."""
        if self.asked.stream:
            return SSE, self.frames(answer).joined()
        return JSON, self.plain(answer)

    def bill(self, answer: Answer | None = None, completion_tokens: int | None = None) -> None:
        """Charge the prompt and the tokens made so far (all of the answer's by default)."""
        answer = answer or self.answer
        self.prompt_tokens, self.cached_tokens = answer.prompt_tokens, answer.cached_tokens
        self.completion_tokens = answer.completion_tokens if completion_tokens is None else completion_tokens

    def first_token_s(self) -> float:
        """Seconds from the request to its first token."""
        return self.latency_s * self.script.first_token_share

    def token_s(self, answer: Answer) -> float:
        """Seconds a token takes after the first."""
        if self.script.tokens_per_second is not None:
            return 1.0 / self.script.tokens_per_second
        return (self.latency_s - self.first_token_s()) / max(1, answer.completion_tokens)

    def whole_s(self, answer: Answer | None = None) -> float:
        """Seconds from the request to the end of its answer."""
        if self.script.tokens_per_second is None:
            return self.latency_s
        answer = answer or self.answer
        return self.first_token_s() + answer.completion_tokens * self.token_s(answer)

    async def wait(self, seconds: float) -> None:
        """Wait until `seconds` after the request came."""
        left = self.started + seconds - asyncio.get_running_loop().time()
        if left > 0:
            await asyncio.sleep(left)

    def write(self, data: bytes) -> None:
        transport = self.request.transport
        if transport is None or transport.is_closing():
            raise ConnectionResetError("the client is gone")
        transport.write(data)

    def head(self, status: int, content_type: bytes, length: int | None, more: bytes = b"") -> bytes:
        """Status line and headers; length None is a chunked body. `more` holds whole header lines."""
        self.status = status
        keep = b"" if self.keep and self.request.keep_alive else b"connection: close\r\n"
        size = b"transfer-encoding: chunked\r\n" if length is None else b"content-length: %d\r\n" % length
        line = b"HTTP/1.1 %d %b\r\ncontent-type: %b\r\n" % (status, _REASONS.get(status, b"Simulated"), content_type)
        return b"".join((line, self.common_headers, size, keep, more, b"\r\n"))

    def respond(self, status: int, body: bytes, content_type: bytes = JSON, more: bytes = b"") -> None:
        self.write(self.head(status, content_type, len(body), more) + body)

    def refuse(self, refusal: Refusal, retry_s: float | None = None) -> None:
        """Send an error; retry_s is the provider's advice, where its format has one."""
        more = b"" if retry_s is None else self.format.retry_headers(retry_s)
        self.respond(refusal.status, self.format.error(refusal, self.request_id, retry_s), JSON, more)

    async def deliver(self, answer: Answer | None = None) -> None:
        """Send an answer whole, in its time. A plain call is charged in full even when its caller leaves."""
        answer = answer or self.answer
        if self.asked.stream:
            await self.stream(answer)
            return
        self.bill(answer)
        await self.wait(self.whole_s(answer))
        self.respond(200, self.plain(answer))

    async def stream(self, answer: Answer, *, delay_s: float = 0.0, stretch_s: float = 0.0) -> None:
        """Send a stream; delay_s more before the first byte, stretch_s more spread over its tokens."""
        frames = self.frames(answer)
        sent_s = await self.stream_body(answer, frames.body, delay_s=delay_s, stretch_s=stretch_s)
        await self.wait(sent_s)
        self.chunk(frames.finish + frames.tail)
        self.end_chunks()

    async def stream_body(
        self, answer: Answer, body: list[tuple[bytes, int]], *, delay_s: float = 0.0, stretch_s: float = 0.0
    ) -> float:
        """Send the head and these frames in their time; what was sent is charged. Returns when the next is due."""
        due = self.first_token_s() + delay_s
        each = self.token_s(answer) + stretch_s / max(1, answer.completion_tokens)
        self.bill(answer, 0)
        await self.wait(due)
        self.write(self.head(200, SSE, None))
        now = due
        held: list[bytes] = []
        tokens = 0
        for frame, count in body:
            if due - now >= _TICK_S:
                self._send_held(answer, held, tokens)
                await self.wait(due)
                now = due
            held.append(frame)
            tokens += count
            due += count * each
        self._send_held(answer, held, tokens)
        return due

    def _send_held(self, answer: Answer, held: list[bytes], tokens: int) -> None:
        if held:
            self.chunk(b"".join(held))
            held.clear()
        self.bill(answer, tokens)

    def chunk(self, data: bytes) -> None:
        self.write(b"%x\r\n%b\r\n" % (len(data), data))

    def end_chunks(self) -> None:
        self.write(b"0\r\n\r\n")

    async def cut(self) -> None:
        """Close in good order (FIN) after what was written has left."""
        self.keep = False
        await asyncio.sleep(_FLUSH_S)
        if self.request.transport is not None:
            self.request.transport.close()

    async def reset(self, *, flush: bool = False) -> None:
        """Close with a TCP reset."""
        self.keep = False
        if flush:
            await asyncio.sleep(_FLUSH_S)
        transport = self.request.transport
        if transport is not None:
            transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET_ON_CLOSE)
            transport.abort()

"""What every provider format shares: a question read, an answer composed, and the functions that a format gives."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from hashlib import blake2b
from itertools import pairwise
from math import exp
from statistics import NormalDist
from struct import unpack
from typing import Any, Final, Protocol

import orjson

from infra.simulators.script import ProviderScript
from infra.simulators.text import Corpus, sample_value

# Lengths of answers: lognormal, two thirds of them within a factor of 1.6 of the median.
_LENGTH_SIGMA: Final = 0.5
_NORMAL: Final = NormalDist()
_CHUNK_TOKENS: Final = 4


@dataclass(frozen=True, slots=True)
class Refusal:
    """An answer that is an error; each format writes it in its own shape."""

    status: int
    kind: str
    code: str | None
    message: str
    param: str | None = None


class Refused(Exception):
    """A request that cannot be read, or asks for what is not there."""

    def __init__(self, refusal: Refusal) -> None:
        super().__init__(refusal.message)
        self.refusal = refusal


@dataclass(frozen=True, slots=True)
class Ask:
    """A request as read. subject is what the answer depends on: the body without stream and limit fields."""

    model: str
    stream: bool
    include_usage: bool
    max_tokens: int | None
    prompt_tokens: int
    subject: bytes
    tool: Mapping[str, Any] | None
    schema: Any
    as_json: bool


@dataclass(frozen=True, slots=True)
class Answer:
    """pieces are streamed one by one and joined otherwise; piece_tokens has one number for each."""

    pieces: tuple[str, ...]
    piece_tokens: tuple[int, ...]
    finish: str  # stop | length | tool_calls | content_filter
    tool_name: str | None
    reasoning_tokens: int
    prompt_tokens: int
    cached_tokens: int

    @property
    def completion_tokens(self) -> int:
        return self.reasoning_tokens + sum(self.piece_tokens)


@dataclass(frozen=True, slots=True)
class Frames:
    """A stream: (bytes, tokens that it carries) each; body before the finish reason, tail after it."""

    body: list[tuple[bytes, int]]
    finish: bytes
    tail: bytes

    def joined(self) -> bytes:
        return b"".join(frame for frame, _ in self.body) + self.finish + self.tail


class Format(Protocol):
    """A provider's wire format: a module with these functions. Paths are what follows /NAME."""

    CHAT_PATH: str
    MODELS_PATH: str

    def read(self, body: bytes, script: ProviderScript) -> Ask:
        """Raises Refused."""

    def plain(self, ask: Ask, answer: Answer, answer_id: str, created: int) -> bytes: ...
    def frames(self, ask: Ask, answer: Answer, answer_id: str, created: int) -> Frames: ...
    def error(self, refusal: Refusal) -> bytes: ...
    def error_event(self, refusal: Refusal) -> bytes: ...
    def models(self, names: tuple[str, ...], created: int) -> bytes: ...
    def limit_headers(self, limit: int | None, remaining: int, reset_s: float) -> bytes: ...


def compose(ask: Ask, key: bytes, script: ProviderScript, corpus: Corpus) -> Answer:
    """The answer to a question: the same for the same key (of seed and provider) and subject, in every process."""
    length_draw, text_draw = unpack("<QQ", blake2b(ask.subject, digest_size=16, key=key).digest())
    z = _NORMAL.inv_cdf((length_draw + 0.5) / 2**64) if 0 < length_draw < 2**64 - 2**12 else 0.0
    wanted = max(1, round(script.output_tokens_mean * exp(_LENGTH_SIGMA * z - _LENGTH_SIGMA**2 / 2)))
    reasoning = round(wanted * script.reasoning_share)
    first, end = corpus.passage(text_draw, wanted)
    finish, tool_name = "stop", None
    if ask.tool is not None or ask.as_json:
        words = corpus.text(first, min(end, first + 3)).strip(" .,")
        schema = ask.tool.get("parameters") if ask.tool is not None else ask.schema
        value = sample_value(schema, words) if isinstance(schema, Mapping) else {"answer": words}
        pieces, counts = _json_pieces(orjson.dumps(value).decode())
        if ask.tool is not None:
            finish, tool_name = "tool_calls", str(ask.tool["name"])
        total = sum(counts)
    else:
        pieces, counts, total = (), (), end - first
    if ask.max_tokens is not None and reasoning + total > ask.max_tokens:
        reasoning = min(reasoning, ask.max_tokens)
        total = ask.max_tokens - reasoning
        finish = "length"
    if pieces:
        pieces, counts = pieces[:total], counts[:total]
    elif total:
        pieces, counts = _text_pieces(corpus, first, first + total, chunked=ask.stream)
    cached = 0
    if script.cached_share and ask.prompt_tokens >= 1024:
        cached = int(ask.prompt_tokens * script.cached_share) // 128 * 128
    return Answer(pieces, counts, finish, tool_name, reasoning, ask.prompt_tokens, cached)


def _text_pieces(corpus: Corpus, first: int, end: int, *, chunked: bool) -> tuple[tuple[str, ...], tuple[int, ...]]:
    if not chunked:
        return (corpus.text(first, end).lstrip(" "),), (end - first,)
    marks = [*range(first, end, _CHUNK_TOKENS), end]
    spans = list(pairwise(marks))
    pieces = [corpus.text(a, b) for a, b in spans]
    pieces[0] = pieces[0].lstrip(" ")
    return tuple(pieces), tuple(b - a for a, b in spans)


def _json_pieces(text: str) -> tuple[tuple[str, ...], tuple[int, ...]]:
    """Four characters a token, one token a piece."""
    pieces = tuple(text[at : at + 4] for at in range(0, len(text), 4))
    return pieces, (1,) * len(pieces)

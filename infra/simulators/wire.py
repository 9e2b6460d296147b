"""What every provider format shares: a question read, an answer composed, and the functions that a format gives."""

from __future__ import annotations

import re
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
# A summary of the reasoning is shown, not the whole.
_THOUGHT_TOKENS: Final = 64
_WORD: Final = re.compile(r"[\w-]+")
IMAGE_TOKENS: Final = 85


@dataclass(frozen=True, slots=True)
class Refusal:
    """An answer that is an error, in the words of its format (kind: type or status; code: code, reason or quota)."""

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
class Tool:
    """A tool that will be called."""

    name: str
    schema: Any


@dataclass(frozen=True, slots=True)
class Ask:
    """A request as read. subject is what the answer depends on: the body without stream, limit and stop fields.

    tools: those to call, one call each. thoughts: reasoning is shown (hidden_thoughts: its signature alone).
    """

    model: str
    stream: bool
    include_usage: bool
    max_tokens: int | None
    prompt_tokens: int
    subject: bytes
    tools: tuple[Tool, ...]
    schema: Any
    as_json: bool
    stop: tuple[str, ...] = ()
    thoughts: bool = False
    hidden_thoughts: bool = False


@dataclass(frozen=True, slots=True)
class ToolCall:
    """A call; pieces are its arguments as JSON, a token each, cut where the token limit was reached."""

    name: str
    pieces: tuple[str, ...]
    arguments: Any  # None where the pieces are cut


@dataclass(frozen=True, slots=True)
class Answer:
    """pieces are streamed one by one and joined otherwise; piece_tokens has one number for each."""

    pieces: tuple[str, ...]
    piece_tokens: tuple[int, ...]
    finish: str  # stop | length | window | tool_calls | content_filter | prompt_blocked
    calls: tuple[ToolCall, ...]
    reasoning_tokens: int
    prompt_tokens: int
    cached_tokens: int
    stopped_by: str | None = None
    thought: tuple[str, ...] = ()
    cache_write_tokens: int = 0

    @property
    def completion_tokens(self) -> int:
        tokens = self.reasoning_tokens + sum(self.piece_tokens)
        for call in self.calls:
            tokens += len(call.pieces)
        return tokens


@dataclass(frozen=True, slots=True)
class Frames:
    """A stream: (bytes, tokens that it carries) each; body before the finish reason, tail after it.

    opening: how many of body come before the first that carries text or arguments.
    """

    body: list[tuple[bytes, int]]
    finish: bytes
    tail: bytes
    opening: int = 1

    def joined(self) -> bytes:
        return b"".join(frame for frame, _ in self.body) + self.finish + self.tail


class Format(Protocol):
    """A provider's wire format: a module with these names. Paths are what follows /NAME.

    CHAT_PATTERN: paths that name a model. REFUSALS: this format's words for a fault, and for server_error,
    rate_limited, unknown_path and wrong_method.
    """

    CHAT_PATHS: tuple[str, ...]
    CHAT_PATTERN: re.Pattern[str] | None
    MODELS_PATHS: tuple[str, ...]
    ANSWER_PREFIX: str
    REFUSALS: Mapping[str, Refusal]

    def read(self, body: bytes, script: ProviderScript, target: str, headers: Mapping[str, str]) -> Ask:
        """Raises Refused. target: the path and query as sent; headers: looked up without regard to case."""

    def plain(self, ask: Ask, answer: Answer, answer_id: str, created: int) -> bytes: ...
    def frames(self, ask: Ask, answer: Answer, answer_id: str, created: int) -> Frames: ...
    def error(self, refusal: Refusal, request_id: str, retry_s: float | None = None) -> bytes: ...
    def error_event(self, refusal: Refusal, request_id: str) -> bytes: ...
    def models(self, names: tuple[str, ...], created: int) -> bytes: ...
    def request_headers(self, request_id: str, limit: int | None, remaining: int, reset_s: float) -> bytes: ...
    def retry_headers(self, seconds: float) -> bytes: ...
    def context_length(self, tokens: int, window: int) -> Refusal: ...


def chosen(
    tools: Mapping[str, Any], choice: str | None, last_text: str | None, *, parallel: bool = True
) -> tuple[Tool, ...]:
    """The tools that the answer calls. tools: name to schema; choice: "auto", "none", "required" or (None) see last_text.

    required: the first two, or one where calls must not be parallel. auto: the first two where last_text (of a user's
    last message; None after a tool's result) says "both", else the one that it names.
    """
    names: list[str] = []
    if choice == "required":
        names = list(tools)[:2]
    elif choice == "auto" and last_text:
        if "both" in _WORD.findall(last_text.lower()):
            names = list(tools)[:2]
        else:
            words = set(_WORD.findall(last_text))
            names = [name for name in tools if name in words][:1]
    return tuple(Tool(name, tools[name]) for name in (names if parallel else names[:1]))


def compose(ask: Ask, key: bytes, script: ProviderScript, corpus: Corpus) -> Answer:
    """The answer to a question: the same for the same key (of seed and provider) and subject, in every process."""
    length_draw, text_draw = unpack("<QQ", blake2b(ask.subject, digest_size=16, key=key).digest())
    z = _NORMAL.inv_cdf((length_draw + 0.5) / 2**64) if 0 < length_draw < 2**64 - 2**12 else 0.0
    wanted = max(1, round(script.output_tokens_mean * exp(_LENGTH_SIGMA * z - _LENGTH_SIGMA**2 / 2)))
    reasoning = round(wanted * script.reasoning_share)
    first, end = corpus.passage(text_draw, wanted)
    finish = "stop"
    calls: tuple[ToolCall, ...] = ()
    pieces: tuple[str, ...] = ()
    counts: tuple[int, ...] = ()
    if ask.tools:
        finish = "tool_calls"
        calls = tuple(_call(tool, corpus.text(first + 3 * at, first + 3 * at + 3)) for at, tool in enumerate(ask.tools))
        total = sum(len(call.pieces) for call in calls)
    elif ask.as_json:
        words = corpus.text(first, min(end, first + 3)).strip(" .,")
        value = sample_value(ask.schema, words) if isinstance(ask.schema, Mapping) else {"answer": words}
        pieces, counts = _json_pieces(orjson.dumps(value).decode())
        total = len(pieces)
    else:
        total = end - first
    most = ask.max_tokens
    if script.context_window is not None:
        room = max(0, script.context_window - ask.prompt_tokens)
        if most is None or room < most:
            most = room
    if most is not None and reasoning + total > most:
        reasoning = min(reasoning, most)
        total = most - reasoning
        finish = "length" if most == ask.max_tokens else "window"
        calls = _cut(calls, total)
    if pieces:
        pieces, counts = pieces[:total], counts[:total]
    elif total and not ask.tools:
        pieces, counts = _text_pieces(corpus, first, first + total, chunked=ask.stream)
    stopped_by = None
    if ask.stop and pieces:
        pieces, counts, stopped_by = _stopped(pieces, counts, ask.stop)
        finish = finish if stopped_by is None else "stop"
    thought: tuple[str, ...] = ()
    if ask.thoughts and reasoning:
        thought = _text_pieces(corpus, first, first + min(reasoning, _THOUGHT_TOKENS), chunked=True)[0]
    cached = written = 0
    if ask.prompt_tokens >= 1024:
        cached = int(ask.prompt_tokens * script.cached_share) // 128 * 128
        written = int((ask.prompt_tokens - cached) * script.cache_write_share)
    return Answer(pieces, counts, finish, calls, reasoning, ask.prompt_tokens, cached, stopped_by, thought, written)


def _call(tool: Tool, words: str) -> ToolCall:
    words = words.strip(" .,")
    value = sample_value(tool.schema, words) if isinstance(tool.schema, Mapping) else {}
    return ToolCall(tool.name, _json_pieces(orjson.dumps(value).decode())[0], value)


def _cut(calls: tuple[ToolCall, ...], tokens: int) -> tuple[ToolCall, ...]:
    """What fits into so many tokens; the last one may be cut."""
    kept: list[ToolCall] = []
    for call in calls:
        if tokens <= 0:
            break
        whole = len(call.pieces) <= tokens
        kept.append(call if whole else ToolCall(call.name, call.pieces[:tokens], None))
        tokens -= len(call.pieces)
    return tuple(kept)


def _stopped(
    pieces: tuple[str, ...], counts: tuple[int, ...], stop: tuple[str, ...]
) -> tuple[tuple[str, ...], tuple[int, ...], str | None]:
    """The pieces before the first stop sequence, their tokens, and the sequence."""
    text = "".join(pieces)
    found = min(((at, one) for one in stop if (at := text.find(one)) >= 0), default=None)
    if found is None:
        return pieces, counts, None
    at, one = found
    kept: list[str] = []
    tokens: list[int] = []
    for piece, count in zip(pieces, counts, strict=True):
        if at <= 0:
            break
        kept.append(piece[:at])
        share = min(1.0, at / len(piece))
        tokens.append(max(1, round(count * share)))
        at -= len(piece)
    return tuple(kept), tuple(tokens), one


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

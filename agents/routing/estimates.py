"""What a request would take on each candidate: tokens, money, time, success, quality; float32, as events hold it."""

import typing
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from agents.routing.compiled import Compiled
from schemas.requests import ChatRequest

ESTIMATE_FIELDS = (
    "tokens_in", "tokens_out", "cost_nano_usd_per_success", "expected_ms",
    "success_mean", "success_lower", "quality_mean", "score",
)  # fmt: skip
TOKENS_IN, TOKENS_OUT, COST, MS, SUCCESS, LOWER, QUALITY, SCORE = range(len(ESTIMATE_FIELDS))
Table = npt.NDArray[np.float32]
Column = npt.NDArray[np.float64]
BYTES_PER_TOKEN = 4
MEAN_TOKENS_OUT = 300
# What is reserved for an answer before its length is learned: the prior's 99th percentile.
P99_TOKENS_OUT = 2_000
TOKENS_AN_IMAGE = 1_000
UNKNOWN_QUALITY = 0.5
MILLION = 1_000_000


@dataclass(frozen=True, slots=True)
class Estimates:
    """`table`: float32, a row for each of ESTIMATE_FIELDS (the score comes in last), a column for each member.

    A *place* is a column; `members` are positions in the catalog. Money in nano-USD, time to the last token at p75 with
    the queue in ms, the rest 0..1.
    """

    compiled: Compiled
    members: Sequence[int]
    table: Table

    @property
    def cost(self) -> Table:
        return typing.cast(Table, self.table[COST])

    @property
    def ms(self) -> Table:
        return typing.cast(Table, self.table[MS])

    @property
    def lower(self) -> Table:
        return typing.cast(Table, self.table[LOWER])

    @property
    def quality(self) -> Table:
        return typing.cast(Table, self.table[QUALITY])


def tokens_in(request: ChatRequest) -> int:
    """Four bytes a token; an image counts by itself, not by the length of its base64 text."""
    size, images = request.prompt_bytes, 0
    if "vision" in request.needs:
        for length in _inline_images(request.body):
            size -= length
            images += 1
    return max(1, -(-size // BYTES_PER_TOKEN)) + images * TOKENS_AN_IMAGE


def _inline_images(body: dict[str, Any]) -> list[int]:
    """Lengths of the data: URLs in the messages; 0 for an image that is only linked."""
    lengths = []
    for message in body["messages"]:
        content = message.get("content")
        for part in content if isinstance(content, list) else ():
            if part.get("type") == "image_url":
                image = part.get("image_url")
                url = image.get("url") if isinstance(image, dict) else image
                lengths.append(len(url) if isinstance(url, str) and url.startswith("data:") else 0)
    return lengths


def estimate(
    compiled: Compiled, members: Sequence[int], request: ChatRequest, size_in: int, quality: Column,
    in_flight: Mapping[str, int],
) -> Estimates:  # fmt: skip
    """Estimates of the members. `quality` is by position. Time grows by the share of the concurrency that is taken."""
    learned, every = compiled.learned, len(members) == len(compiled.ids)
    at: Any = slice(None) if every else np.array(members)
    wanted: Any = min(request.max_tokens or MEAN_TOKENS_OUT, MEAN_TOKENS_OUT)
    if wanted > compiled.least_max_out:
        wanted = np.minimum(wanted, np.array(compiled.max_out)[at])
    success = learned.success[at]
    table = np.empty((len(ESTIMATE_FIELDS), len(members)), dtype="<f4")
    table[TOKENS_IN] = size_in
    table[TOKENS_OUT] = wanted
    price_in, price_out = compiled.prices_in[at], compiled.prices_out[at]
    table[COST] = (price_in * (size_in / MILLION) + price_out * (wanted / MILLION)) / success
    times = learned.first_ms[at] + learned.token_ms[at] * wanted
    if in_flight and learned.room:
        flying = np.array([in_flight.get(name, 0) for name in compiled.ids])
        times *= 1 + (flying / compiled.concurrency)[at]
    table[MS] = times
    table[SUCCESS] = success
    table[LOWER] = learned.lower[at]
    table[QUALITY] = quality[at]
    return Estimates(compiled, members, table)


def packed(estimates: Estimates, places: Sequence[int], scores: Table) -> bytes:
    """`ESTIMATE_FIELDS` for each of `places` (in that order) as little-endian float32. `scores`: of all places."""
    estimates.table[SCORE] = scores
    return estimates.table.T[list(places)].tobytes()


def reserve(compiled: Compiled, position: int, request: ChatRequest, size_in: int) -> int:
    """Nano-USD to hold for a call: the input and the output's 99th percentile, cut at what caller and model allow."""
    out = min(request.max_tokens or P99_TOKENS_OUT, P99_TOKENS_OUT, compiled.max_out[position])
    micro = compiled.price_in[position] * size_in + compiled.price_out[position] * out
    return -(-micro // MILLION)


def tokens_needed(compiled: Compiled, position: int, request: ChatRequest, size_in: int) -> int:
    """What must fit into the context: the input and the output asked for, or a usual one."""
    return size_in + min(request.max_tokens or MEAN_TOKENS_OUT, compiled.max_out[position])

"""What a request needs: tokens, the money to hold for a call; and the layout of the estimates in events."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from schemas.requests import ChatRequest

if TYPE_CHECKING:
    from agents.routing.compiled import Compiled

ESTIMATE_FIELDS = (
    "tokens_in", "tokens_out", "cost_nano_usd_per_success", "expected_ms",
    "success_mean", "success_lower", "quality_mean", "score",
)  # fmt: skip
TOKENS_IN, TOKENS_OUT, COST, MS, SUCCESS, LOWER, QUALITY, SCORE = range(len(ESTIMATE_FIELDS))
RECORDED = 32
"""Candidates that an event keeps at most; ties beyond them need no order."""
Table = npt.NDArray[np.float32]
Column = npt.NDArray[np.float64]
BYTES_PER_TOKEN = 4
MEAN_TOKENS_OUT = 300
# What is reserved for an answer before its length is learned: the prior's 99th percentile.
P99_TOKENS_OUT = 2_000
TOKENS_AN_IMAGE = 1_000
UNKNOWN_QUALITY = 0.5
MILLION = 1_000_000


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


def reserve(
    compiled: "Compiled", position: int, request: ChatRequest, size_in: int, longest: Sequence[int] | None = None
) -> int:
    """Nano-USD to hold for a call: the input and the output's 99th percentile, cut at what caller and model allow.

    `longest`: the learned percentile by position, None where nothing was learned.
    """
    p99 = longest[position] if longest else P99_TOKENS_OUT
    out = min(request.max_tokens or p99, p99, compiled.max_out[position])
    micro = compiled.price_in[position] * size_in + compiled.price_out[position] * out
    return -(-micro // MILLION)


def tokens_needed(compiled: "Compiled", position: int, request: ChatRequest, size_in: int) -> int:
    """What must fit into the context: the input and the output asked for, or a usual one."""
    return size_in + min(request.max_tokens or MEAN_TOKENS_OUT, compiled.max_out[position])

"""What came of a call. Values only: no text of a provider and no key ever stands in a Failed."""

from dataclasses import dataclass
from typing import Any, Literal

from agents.execution.headroom import Headroom
from schemas.failures import Failure


@dataclass(frozen=True, slots=True)
class Usage:
    """Tokens as billed. `tokens_in` includes `cached` and `cache_write`; `tokens_out` includes `reasoning`.

    `certain`: False where the provider gave none or an impossible one; then charge an estimate.
    """

    tokens_in: int = 0
    tokens_out: int = 0
    cached: int = 0
    cache_write: int = 0
    reasoning: int = 0
    certain: bool = True


UNKNOWN_USAGE = Usage(certain=False)


@dataclass(frozen=True, slots=True)
class Answer:
    """A good body, read: `completion` is an OpenAI chat.completion. `empty`: it holds neither text nor a call."""

    completion: dict[str, Any]
    usage: Usage
    finish_reason: str
    model: str
    empty: bool = False


@dataclass(frozen=True, slots=True)
class Trouble:
    """A body that is no answer, read. `codes`: what the provider calls it, most precise first, not yet vetted.

    `readable`: it had the provider's error shape. `context`: it speaks of the context window. `param`: the field
    it blames, not yet vetted. `inner_status`: a status that the body itself gives. `retry_after_ms`: advice when to
    come back that stands in the body. `usage`: what was billed all the same.
    """

    readable: bool
    codes: tuple[str, ...] = ()
    param: str = ""
    context: bool = False
    inner_status: int = 0
    retry_after_ms: float | None = None
    usage: Usage | None = None


UNREADABLE = Trouble(readable=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class Succeeded:
    """The provider answered, `finish_reason` content_filter included. `completion` is an OpenAI chat.completion,
    whole also after a stream; `first_token_ms` is 0 without one. `headroom`: what is left of the rate limits."""

    completion: dict[str, Any]
    usage: Usage
    finish_reason: str
    http_status: int
    provider_request_id: str
    latency_ms: float
    first_token_ms: float
    model: str
    headroom: Headroom | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Failed:
    """The attempt failed; what to do next stands in it as in `schemas.failures.Behaviour`.

    `http_status` is 0 without an answer. `provider_code` is one of our list, or "". `rejection`: why the request
    itself cannot be served, a clause in our words without a full stop; with `other` "any" and nothing sent, what this
    provider's wire format cannot carry. `ours`: our own fault, nothing was sent; `provider_code` is then the class of
    the error. `elsewhere`: the credential was refused, and the deployment has another one that is usable.
    `headroom`: what the answer's headers said is left of the rate limits.
    """

    failure: Failure
    http_status: int
    latency_ms: float
    retry_after_ms: int | None
    provider_code: str
    provider_request_id: str
    counts: bool
    billed: Literal["no", "yes", "unknown"]
    same: bool
    other: Literal["any", "larger", "none"]
    cool: bool
    quarantine: bool
    usage: Usage | None = None
    rejection: str = ""
    ours: bool = False
    elsewhere: bool = False
    headroom: Headroom | None = None


Outcome = Succeeded | Failed

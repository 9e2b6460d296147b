"""Failures of attempts, each with what it means as data: one table that the attempt loop, the circuit and the bill read."""

from dataclasses import dataclass
from enum import StrEnum
from typing import Literal


class Failure(StrEnum):
    """Why an attempt failed."""

    CONNECT = "connect"
    TIMEOUT = "timeout"
    RATE_LIMITED = "rate_limited"
    QUOTA_EXHAUSTED = "quota_exhausted"
    AUTHENTICATION = "authentication"
    MODEL_NOT_FOUND = "model_not_found"
    INVALID_REQUEST = "invalid_request"
    CONTEXT_LENGTH = "context_length"
    TOO_LARGE = "too_large"
    OVERLOADED = "overloaded"
    SERVER_ERROR = "server_error"
    BAD_RESPONSE = "bad_response"
    STREAM_INTERRUPTED = "stream_interrupted"
    STREAM_STALLED = "stream_stalled"
    EMPTY_COMPLETION = "empty_completion"
    CONTENT_FILTERED = "content_filtered"
    CANCELLED = "cancelled"


@dataclass(frozen=True, slots=True)
class Behaviour:
    """`same`: may be tried once more on the same deployment. `other`: which others may take it.

    `counts`: toward the circuit. `billed`: what the provider may charge. `cool`: keep traffic off until Retry-After.
    `quarantine`: the credential (or, for a missing model, the deployment) is out of service until released.
    """

    same: bool
    other: Literal["any", "larger", "none"]
    counts: bool
    billed: Literal["no", "yes", "unknown"]
    cool: bool = False
    quarantine: bool = False


BEHAVIOUR: dict[Failure, Behaviour] = {
    Failure.CONNECT: Behaviour(same=True, other="any", counts=True, billed="no"),
    Failure.TIMEOUT: Behaviour(same=False, other="any", counts=True, billed="unknown"),
    Failure.RATE_LIMITED: Behaviour(same=False, other="any", counts=False, billed="no", cool=True),
    Failure.QUOTA_EXHAUSTED: Behaviour(same=False, other="any", counts=False, billed="no", quarantine=True),
    Failure.AUTHENTICATION: Behaviour(same=False, other="any", counts=False, billed="no", quarantine=True),
    Failure.MODEL_NOT_FOUND: Behaviour(same=False, other="any", counts=False, billed="no", quarantine=True),
    Failure.INVALID_REQUEST: Behaviour(same=False, other="none", counts=False, billed="no"),
    Failure.CONTEXT_LENGTH: Behaviour(same=False, other="larger", counts=False, billed="no"),
    Failure.TOO_LARGE: Behaviour(same=False, other="larger", counts=False, billed="no"),
    Failure.OVERLOADED: Behaviour(same=False, other="any", counts=True, billed="no"),
    Failure.SERVER_ERROR: Behaviour(same=True, other="any", counts=True, billed="no"),
    Failure.BAD_RESPONSE: Behaviour(same=False, other="any", counts=True, billed="unknown"),
    Failure.STREAM_INTERRUPTED: Behaviour(same=False, other="any", counts=True, billed="unknown"),
    Failure.STREAM_STALLED: Behaviour(same=False, other="any", counts=True, billed="unknown"),
    Failure.EMPTY_COMPLETION: Behaviour(same=True, other="any", counts=False, billed="yes"),
    Failure.CONTENT_FILTERED: Behaviour(same=False, other="none", counts=False, billed="yes"),
    Failure.CANCELLED: Behaviour(same=False, other="none", counts=False, billed="unknown"),
}

"""Errors, one tree. Those that reach a caller carry a code of CONTRACT's list and a sentence that says what to do.

TurnoutError
 +- ConfigurationError     a file, key or credential is wrong; exit code 2
 +- OperationError         an operation failed; exit code 1
 +- RequestError           becomes a final error answer of a request
 +- UnknownEvent           bytes of an event this version does not know: never skipped
 +- UnreadableRecord      what is no event of any version: a dead letter, passed over
 +- LeaseLost              this process no longer owns what it wanted to write
"""


class TurnoutError(Exception):
    """Root of the tree."""


class ConfigurationError(TurnoutError):
    """The configuration is wrong. `problems`: one sentence each."""

    def __init__(self, *problems: str) -> None:
        super().__init__("; ".join(problems))
        self.problems = problems


class OperationError(TurnoutError):
    """An operation failed; the message says what to do."""


class UnknownEvent(TurnoutError):
    """An event of an unknown name or version. The partition pauses until a version that knows it runs."""


class UnreadableRecord(TurnoutError):
    """A record that is no event of any version, or none of its topic: somebody else's, so no fold stops for it."""


class LeaseLost(TurnoutError):
    """Results may not be published any more: another worker may own the partition."""


RETRYABLE_CODES = frozenset({"throttled", "deadline_exceeded", "all_attempts_failed", "internal", "budget_exhausted"})

ERROR_TYPES = {
    "invalid_request": "invalid_request_error",
    "request_too_large": "invalid_request_error",
    "unknown_model": "invalid_request_error",
    "no_capable_deployment": "invalid_request_error",
    "context_length_exceeded": "invalid_request_error",
    "cost_limit_exceeded": "invalid_request_error",
    "budget_exhausted": "budget_error",
    "throttled": "rate_limit_error",
    "deadline_exceeded": "timeout_error",
    "provider_rejected": "invalid_request_error",
    "content_filtered": "content_filter_error",
    "all_attempts_failed": "provider_error",
    "unauthorized": "authentication_error",
    "internal": "server_error",
}


class RequestError(TurnoutError):
    """A final error answer. `param` names the field at fault, `retry_after_ms` when a new try makes sense,
    `request_id` the id that an unreadable body named."""

    def __init__(
        self,
        code: str,
        message: str,
        *,
        param: str | None = None,
        retry_after_ms: int | None = None,
        request_id: str | None = None,
    ) -> None:
        super().__init__(message)
        assert code in ERROR_TYPES, code
        self.code = code
        self.message = message
        self.param = param
        self.retry_after_ms = retry_after_ms
        self.request_id = request_id

    @property
    def retryable(self) -> bool:
        """Whether the same request may succeed later; publishing its id again then runs it again."""
        return self.code in RETRYABLE_CODES

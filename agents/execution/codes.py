"""What providers call their failures. Only codes that stand here are ever repeated: the rest of a body is not ours."""

import re

from schemas.failures import Failure

_FINISH = re.compile(r"[A-Za-z_]{0,32}")

# Codes that say more than the status does.
DECISIVE: dict[str, Failure] = {
    "insufficient_quota": Failure.QUOTA_EXHAUSTED,
    "credit_balance_exhausted": Failure.QUOTA_EXHAUSTED,
    "insufficient_balance": Failure.QUOTA_EXHAUSTED,
    "billing_hard_limit_reached": Failure.QUOTA_EXHAUSTED,
    "billing_not_active": Failure.QUOTA_EXHAUSTED,
    "billing_error": Failure.QUOTA_EXHAUSTED,
    "spend_limit": Failure.QUOTA_EXHAUSTED,
    "PerDay": Failure.QUOTA_EXHAUSTED,
    "context_length_exceeded": Failure.CONTEXT_LENGTH,
    "model_context_window_exceeded": Failure.CONTEXT_LENGTH,
    "exceed_context_size_error": Failure.CONTEXT_LENGTH,
    "server_is_overloaded": Failure.OVERLOADED,
    "overloaded_error": Failure.OVERLOADED,
    "model_not_found": Failure.MODEL_NOT_FOUND,
    "DeploymentNotFound": Failure.MODEL_NOT_FOUND,
    "content_filter": Failure.CONTENT_FILTERED,
    "content_policy_violation": Failure.CONTENT_FILTERED,
    # Gemini says 400 to a wrong key.
    "API_KEY_INVALID": Failure.AUTHENTICATION,
    # Gemini's answers that hold no answer; they are billed.
    "MALFORMED_FUNCTION_CALL": Failure.EMPTY_COMPLETION,
    "MALFORMED_RESPONSE": Failure.EMPTY_COMPLETION,
    "UNEXPECTED_TOOL_CALL": Failure.EMPTY_COMPLETION,
    "TOO_MANY_TOOL_CALLS": Failure.EMPTY_COMPLETION,
}
# Codes that decide only where the status says nothing: inside a 200.
GENERAL: dict[str, Failure] = {
    "rate_limit_exceeded": Failure.RATE_LIMITED,
    "rate_limit_error": Failure.RATE_LIMITED,
    "RESOURCE_EXHAUSTED": Failure.RATE_LIMITED,
    "invalid_api_key": Failure.AUTHENTICATION,
    "authentication_error": Failure.AUTHENTICATION,
    "permission_error": Failure.AUTHENTICATION,
    "permission_denied": Failure.AUTHENTICATION,
    "account_deactivated": Failure.AUTHENTICATION,
    "UNAUTHENTICATED": Failure.AUTHENTICATION,
    "PERMISSION_DENIED": Failure.AUTHENTICATION,
    "API_KEY_SERVICE_BLOCKED": Failure.AUTHENTICATION,
    "SERVICE_DISABLED": Failure.AUTHENTICATION,
    "not_found_error": Failure.MODEL_NOT_FOUND,
    "NotFoundError": Failure.MODEL_NOT_FOUND,
    "NOT_FOUND": Failure.MODEL_NOT_FOUND,
    "unknown_url": Failure.MODEL_NOT_FOUND,
    "request_too_large": Failure.TOO_LARGE,
    "timeout": Failure.TIMEOUT,
    "timeout_error": Failure.TIMEOUT,
    "DEADLINE_EXCEEDED": Failure.TIMEOUT,
    "UNAVAILABLE": Failure.OVERLOADED,
    "server_error": Failure.SERVER_ERROR,
    "api_error": Failure.SERVER_ERROR,
    "internal_server_error": Failure.SERVER_ERROR,
    "InternalServerError": Failure.SERVER_ERROR,
    "INTERNAL": Failure.SERVER_ERROR,
    "invalid_value": Failure.INVALID_REQUEST,
    "invalid_type": Failure.INVALID_REQUEST,
    "unsupported_value": Failure.INVALID_REQUEST,
    "unsupported_parameter": Failure.INVALID_REQUEST,
    "unknown_parameter": Failure.INVALID_REQUEST,
    "missing_required_parameter": Failure.INVALID_REQUEST,
    "invalid_image": Failure.INVALID_REQUEST,
    "invalid_image_url": Failure.INVALID_REQUEST,
    "invalid_json_schema": Failure.INVALID_REQUEST,
    "invalid_function_parameters": Failure.INVALID_REQUEST,
    "BadRequestError": Failure.INVALID_REQUEST,
    "invalid_request_error": Failure.INVALID_REQUEST,
    "INVALID_ARGUMENT": Failure.INVALID_REQUEST,
    "FAILED_PRECONDITION": Failure.INVALID_REQUEST,
}
# Part of a longer name: `project_spend_limit_reached`, `GenerateRequestsPerDayPerProjectPerModel`.
_PARTS = ("spend_limit", "PerDay")
# Fields of the three formats, by their first name.
PARAMS = frozenset({
    "audio", "contents", "frequency_penalty", "function_call", "functions", "generation_config", "logit_bias",
    "logprobs", "max_completion_tokens", "max_tokens", "messages", "metadata", "modalities", "model", "n",
    "output_config", "parallel_tool_calls", "prediction", "presence_penalty", "prompt_cache_key", "reasoning_effort",
    "response_format", "seed", "service_tier", "stop", "stop_sequences", "store", "stream_options", "system",
    "system_instruction", "temperature", "thinking", "tool_choice", "tool_config", "tools", "top_k", "top_logprobs",
    "top_p", "user", "verbosity", "web_search_options",
})  # fmt: skip


def vetted(code: str) -> str:
    """The code as we may repeat it, "" where it is none of ours."""
    part = next((part for part in _PARTS if part in code), "")
    return part or (code if code in DECISIVE or code in GENERAL else "")


def vetted_finish(reason: str) -> str:
    """The finish reason as the log may keep it, "other" where it is no word: whatever stands there may hold content."""
    return reason if _FINISH.fullmatch(reason) else "other"

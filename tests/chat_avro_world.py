"""The contract's request, answer and chunk, for tests of chat in Avro."""

from schemas.chat_avro import (
    CHAT_RECORDS,
    chat_schemas,
)
from schemas.responses import chat_response

LIMIT = 8 * 1024 * 1024
SECRET = "my-secret-prompt"
IDS = {(name, 1): 7 + index for index, name in enumerate(CHAT_RECORDS)}
SCHEMAS = {schema.event: schema for schema in chat_schemas()}
HEADER = SCHEMAS["ChatRequest"].header

ROUTING = {
    "request_id": "r-1",
    "tenant": "acme",
    "session": "s-9",
    "strategy": "cost",
    "balancer": "token_aware",
    "task": "code",
    "tier": "balanced",
    "priority": "interactive",
    "deadline_ms": 30000,
    "max_cost_usd": 0.02,
    "min_quality": 0.7,
    "weights": {"cost": 0.6, "quality": 0.4},
    "region": "eu",
    "allow": ["openai/*"],
    "deny": ["*/llama*"],
    "fallback": True,
    "tags": {"team": "search"},
}
REQUEST = {
    "model": "auto",
    "messages": [
        {"role": "system", "content": "Be brief."},
        {
            "role": "user",
            "content": [{"type": "text", "text": "What is it?"}, {"type": "image_url", "image_url": {"url": "u"}}],
        },
        {
            "role": "assistant",
            "content": None,
            "tool_calls": [{"id": "c1", "function": {"name": "f", "arguments": "{}"}}],
        },
        {"role": "tool", "tool_call_id": "c1", "content": "42", "cache_control": {"type": "ephemeral"}},
    ],
    "stream": True,
    "stream_options": {"include_usage": True},
    "temperature": 1,
    "top_p": 0.5,
    "max_tokens": 100,
    "stop": ["\n"],
    "seed": 7,
    "n": 1,
    "tools": [{"type": "function", "function": {"name": "f"}}],
    "tool_choice": "auto",
    "response_format": {"type": "json_schema", "json_schema": {}},
    "user": None,
    "top_k": 40,
    "routing": ROUTING,
}
ANSWER_ROUTING = {
    "request_id": "r-1",
    "tenant": "acme",
    "status": "ok",
    "deployment": "openai-mini-eu",
    "provider": "openai",
    "tier": "secondary",
    "strategy": "cost",
    "cost_strategy": "budget_aware",
    "balancer": "least_response_time",
    "task": "code",
    "confidence": 0.83,
    "reasons": ["cheapest of 4 capable deployments"],
    "attempts": [
        {
            "number": 1,
            "deployment": "anthropic-main",
            "tier": "primary",
            "outcome": "failed",
            "failure": "server_error",
            "http_status": 500,
            "latency_ms": 12.1,
            "cost_usd": 0,
        },
        {
            "number": 2,
            "deployment": "openai-mini-eu",
            "tier": "secondary",
            "outcome": "succeeded",
            "http_status": 200,
            "latency_ms": 230.1,
            "cost_usd": 0.000123,
        },
    ],
    "cost_usd": 0.000123,
    "latency_ms": {"queue": 1.2, "decision": 0.05, "first_token": 80.3, "provider": 230.1, "total": 245.0},
}
COMPLETION = {
    "choices": [
        {
            "index": 0,
            "message": {"role": "assistant", "content": "Hi", "refusal": None},
            "finish_reason": "stop",
            "logprobs": None,
        }
    ],
    "usage": {
        "prompt_tokens": 10,
        "completion_tokens": 2,
        "total_tokens": 12,
        "prompt_tokens_details": {"cached_tokens": 4},
    },
    "system_fingerprint": "fp_1",
    "x_provider": {"region": "eu"},
}
ANSWER = chat_response(COMPLETION, "r-1", 1_790_000_000, "gpt-5-mini", ANSWER_ROUTING)
CHUNK = {
    "id": "chatcmpl-r-1",
    "object": "chat.completion.chunk",
    "created": 1_790_000_000,
    "model": "gpt-5-mini",
    "choices": [{"index": 0, "delta": {"role": "assistant", "content": "Hi"}, "finish_reason": None}],
    "routing": {"request_id": "r-1", "run": 44, "attempt": 1, "sequence": 0, "last": False},
}

"""The task of a request from its structure: what it brings along, before what its words say."""

from collections.abc import Iterator
from typing import Any

from schemas.requests import ChatRequest

FENCE = "```"


def task_of(request: ChatRequest) -> str:
    """The task that the caller names; else tools, images, a code fence and a JSON schema are read, in that order."""
    if request.routing.task:
        return request.routing.task
    needs = request.needs
    if "tools" in needs:
        return "function_calling"
    if "vision" in needs:
        return "multimodal"
    for text in _texts(request.body):
        if FENCE in text:
            return "code"
    return "analysis" if "json_schema" in needs else "conversation"


def _texts(body: dict[str, Any]) -> Iterator[str]:
    for message in body["messages"]:
        content = message.get("content")
        if isinstance(content, str):
            yield content
        elif isinstance(content, list):
            for part in content:
                text = part.get("text")
                if isinstance(text, str):
                    yield text

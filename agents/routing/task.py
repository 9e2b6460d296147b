"""The task of a request: what the caller names, then what it brings along, then what its words say."""

from typing import Any

from agents.routing.text.model import task_of_text
from schemas.requests import ChatRequest

FENCE = "```"


def task_of(request: ChatRequest) -> str:
    """The task that the caller names; else tools, images and a code fence are read, in that order, and then the words.

    A JSON schema makes a conversation an analysis: whoever asks for fields does not chat.
    """
    if request.routing.task:
        return request.routing.task
    needs = request.needs
    if "tools" in needs:
        return "function_calling"
    if "vision" in needs:
        return "multimodal"
    messages = request.body["messages"]
    # A system prompt may hold examples of anything; code that user and model speak about stays code in a follow-up.
    if any(FENCE in _text(message) for message in messages if message.get("role") != "system"):
        return "code"
    spoken = next((message for message in reversed(messages) if message.get("role") == "user"), messages[-1])
    task = task_of_text(_text(spoken))
    return "analysis" if task == "conversation" and "json_schema" in needs else task


def _text(message: dict[str, Any]) -> str:
    content = message.get("content")
    if isinstance(content, str):
        return content
    if isinstance(content, list):
        return "\n".join(part["text"] for part in content if isinstance(part.get("text"), str))
    return ""

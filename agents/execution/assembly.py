"""A whole chat.completion out of the chunks of a stream."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from agents.execution.body import mapping, objects, read_usage, says
from agents.execution.outcome import Answer

Delta = dict[str, Any]
# Sent once, or again and again as they are: not to be joined.
_FIXED = frozenset({"role", "id", "type", "name", "index", "format"})


@dataclass(slots=True)
class _Choice:
    message: dict[str, Any] = field(default_factory=lambda: {"role": "assistant", "content": None})
    # Strings come in thousands of pieces: joined once, at the end.
    pieces: dict[str, list[str]] = field(default_factory=dict)
    calls: dict[int, dict[str, Any]] = field(default_factory=dict)
    arguments: dict[int, list[str]] = field(default_factory=dict)
    logprobs: dict[str, Any] = field(default_factory=dict)
    finish: str | None = None


@dataclass(slots=True)
class Assembly:
    """Takes chunks in order. `usage` is the last one given; `began`: text, a call or reasoning has come."""

    usage: Any = None
    began: bool = False
    _head: dict[str, Any] = field(default_factory=dict)
    _choices: dict[int, _Choice] = field(default_factory=dict)

    def add(self, chunk: Delta) -> None:
        """Join a chunk."""
        if chunk.get("usage") is not None:
            self.usage = chunk["usage"]
        for name, value in chunk.items():
            if value is not None and name not in ("object", "choices", "usage"):
                self._head[name] = value
        for given in objects(chunk.get("choices")):
            index = given.get("index")
            choice = self._choices.setdefault(index if isinstance(index, int) else 0, _Choice())
            self._join(choice, mapping(given.get("delta")))
            for name, value in mapping(given.get("logprobs")).items():
                _joined(choice.logprobs, name, value)
            if isinstance(given.get("finish_reason"), str):
                choice.finish = given["finish_reason"]

    def finished(self, choices: int) -> bool:
        """Whether so many choices, and every one that began, have a finish reason."""
        return len(self._choices) >= choices and all(choice.finish for choice in self._choices.values())

    @property
    def finish_reason(self) -> str:
        """Of the first choice; "" before the end."""
        return (self._choices[min(self._choices)].finish or "") if self._choices else ""

    @property
    def model(self) -> str:
        model = self._head.get("model")
        return model if isinstance(model, str) else ""

    def completion(self) -> dict[str, Any]:
        """The chat.completion so far."""
        choices = []
        for index, choice in sorted(self._choices.items()):
            message = dict(choice.message)
            for name, parts in choice.pieces.items():
                message[name] = "".join(parts)
            if choice.calls:
                calls = []
                for at, call in sorted(choice.calls.items()):
                    function = {**mapping(call.get("function")), "arguments": "".join(choice.arguments.get(at, ()))}
                    calls.append({**call, "function": function})
                message["tool_calls"] = calls
                if not message["content"]:
                    message["content"] = None
            whole = {"index": index, "message": message, "logprobs": choice.logprobs or None}
            choices.append({**whole, "finish_reason": choice.finish})
        head = {"id": "", "object": "chat.completion", "created": 0, "model": ""}
        whole = {**head, **self._head, "choices": choices}
        return whole if self.usage is None else {**whole, "usage": self.usage}

    def answer(self) -> Answer:
        """What has come, read as a whole body would be."""
        completion, finish = self.completion(), self.finish_reason
        # Cut at its limit or by a filter, an answer without text is a true one.
        said = finish in ("length", "content_filter") or any(says(each["message"]) for each in completion["choices"])
        return Answer(completion, read_usage(self.usage), finish, self.model, empty=not said)

    def _join(self, choice: _Choice, delta: dict[str, Any]) -> None:
        for name, value in delta.items():
            if value is None:
                continue
            if name == "tool_calls":
                for call in objects(value):
                    self._call(choice, call)
            elif isinstance(value, str) and name not in _FIXED:
                choice.pieces.setdefault(name, []).append(value)
                self.began = self.began or bool(value)
            else:
                _joined(choice.message, name, value)
                self.began = self.began or name in ("function_call", "audio")

    def _call(self, choice: _Choice, given: dict[str, Any]) -> None:
        self.began = True
        index = given.get("index")
        if not isinstance(index, int):
            # Some servers number no calls, and send each one whole.
            index = len(choice.calls) if given.get("id") or not choice.calls else max(choice.calls)
        call = choice.calls.setdefault(index, {"id": "", "type": "function", "function": {"name": ""}})
        for name, value in given.items():
            if name == "function":
                for part, said in mapping(value).items():
                    if part == "arguments":
                        if isinstance(said, str):
                            choice.arguments.setdefault(index, []).append(said)
                    elif said:
                        call["function"][part] = said
            elif name != "index" and value:
                call[name] = value


def joined(chunks: Iterable[Delta]) -> Answer:
    """The whole answer of all its chunks."""
    whole = Assembly()
    for chunk in chunks:
        whole.add(chunk)
    return whole.answer()


def _joined(into: dict[str, Any], name: str, value: Any) -> None:
    known = into.get(name)
    match known, value:
        case str(), str() if name not in _FIXED:
            into[name] = known + value
        case list(), list():
            into[name] = known + value
        case dict(), dict():
            into[name] = known = dict(known)
            for inner, said in value.items():
                _joined(known, inner, said)
        case _ if value is not None:
            into[name] = value

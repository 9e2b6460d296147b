"""An OpenAI conversation, taken apart for formats that are built otherwise. Total: what cannot be read is named."""

from dataclasses import dataclass, field
from typing import Any, Literal
from urllib.parse import urlsplit

from agents.execution.body import from_json, mapping, text_of

_IMAGES = {"png": "png", "jpg": "jpeg", "jpeg": "jpeg", "webp": "webp", "gif": "gif", "heic": "heic", "heif": "heif"}


@dataclass(frozen=True, slots=True)
class Text:
    """`cache`: an Anthropic `cache_control`, as other routers take it too."""

    text: str
    cache: dict[str, Any] | None = None


@dataclass(frozen=True, slots=True)
class Image:
    """By URL, or with `data` (base64) and its `media_type`. `detail`: low | high, how closely to look, "" where left open."""

    url: str = ""
    media_type: str = ""
    data: str = ""
    detail: str = ""


@dataclass(frozen=True, slots=True)
class Call:
    """A function call that the assistant made. `signature`: Gemini's opaque one."""

    id: str
    name: str
    arguments: dict[str, Any]
    signature: str = ""


@dataclass(frozen=True, slots=True)
class Result:
    """What a function gave back."""

    call_id: str
    texts: tuple[Text, ...]


Part = Text | Image | Call | Result


@dataclass(slots=True)
class Turn:
    """What one side said without a break. `thinking`: Anthropic's blocks; `signature`: Gemini's of the text."""

    role: Literal["user", "assistant"]
    parts: list[Part] = field(default_factory=list)
    thinking: list[dict[str, Any]] = field(default_factory=list)
    signature: str = ""


@dataclass(slots=True)
class Conversation:
    """`beyond`: names of what is not of a common form. System texts stand apart, in their order."""

    system: list[Text] = field(default_factory=list)
    turns: list[Turn] = field(default_factory=list)
    beyond: list[str] = field(default_factory=list)
    function_by_call: dict[str, str] = field(default_factory=dict)

    @property
    def details(self) -> set[str]:
        """How closely its images are to be looked at."""
        parts = (part for turn in self.turns for part in turn.parts)
        return {part.detail for part in parts if isinstance(part, Image)}

    def _turn(self, role: Literal["user", "assistant"]) -> Turn:
        if not self.turns or self.turns[-1].role != role:
            self.turns.append(Turn(role))
        return self.turns[-1]


def read_conversation(messages: Any) -> Conversation:
    """The messages, neighbours of one side joined (parallel tool results must come in one turn)."""
    talk = Conversation()
    if not isinstance(messages, list):
        return talk
    for message in messages:
        if not isinstance(message, dict):
            talk.beyond.append("messages")
            continue
        match message.get("role"):
            case "system" | "developer":
                parts = _parts(message.get("content"), talk)
                talk.system += [part for part in parts if isinstance(part, Text)]
                if any(not isinstance(part, Text) for part in parts):
                    talk.beyond.append("messages.content.image_url")
            case "user":
                talk._turn("user").parts += _parts(message.get("content"), talk)
            case "assistant":
                _assistant(message, talk)
            case "tool":
                _result(message, talk)
            case _:
                talk.beyond.append("messages.role")
        if message.get("name") and message.get("role") != "tool":
            talk.beyond.append("messages.name")
    return talk


def media_type(url: str) -> str:
    """Of an image by its path's ending, "" where that shows none."""
    try:
        ending = urlsplit(url).path.rpartition(".")[2].lower()
    except ValueError:
        return ""
    return f"image/{_IMAGES[ending]}" if ending in _IMAGES else ""


def signature_of(holder: dict[str, Any]) -> str:
    """Gemini's signature where its own OpenAI endpoint puts it: `extra_content.google.thought_signature`."""
    return text_of(mapping(mapping(holder.get("extra_content")).get("google")).get("thought_signature"))


def _assistant(message: dict[str, Any], talk: Conversation) -> None:
    turn = talk._turn("assistant")
    blocks = message.get("thinking_blocks")
    if isinstance(blocks, list):
        turn.thinking += [block for block in blocks if isinstance(block, dict)]
    turn.signature = signature_of(message) or turn.signature
    # An empty text beside calls is usual, and other formats refuse it.
    turn.parts += [part for part in _parts(message.get("content"), talk) if not isinstance(part, Text) or part.text]
    if isinstance(message.get("refusal"), str):
        turn.parts.append(Text(message["refusal"]))
    talk.beyond += [f"messages.{name}" for name in ("function_call", "audio") if message.get(name) is not None]
    calls = message.get("tool_calls")
    if calls is not None and not isinstance(calls, list):
        talk.beyond.append("messages.tool_calls")
        return
    for call in calls or ():
        function = mapping(mapping(call).get("function"))
        id, name, given = mapping(call).get("id"), function.get("name"), function.get("arguments")
        arguments = (from_json(given) if given.strip() else {}) if isinstance(given, str) else given
        if not isinstance(id, str) or not isinstance(name, str) or not isinstance(arguments, dict):
            talk.beyond.append("messages.tool_calls")
            continue
        talk.function_by_call[id] = name
        turn.parts.append(Call(id, name, arguments, signature_of(call)))


def _result(message: dict[str, Any], talk: Conversation) -> None:
    id = message.get("tool_call_id")
    parts = _parts(message.get("content"), talk)
    texts = tuple(part for part in parts if isinstance(part, Text))
    if len(texts) < len(parts):
        talk.beyond.append("messages.content.image_url")
    if not isinstance(id, str):
        talk.beyond.append("messages.tool_call_id")
        return
    talk._turn("user").parts.append(Result(id, texts))


def _parts(content: Any, talk: Conversation) -> list[Part]:
    if content is None:
        return []
    if isinstance(content, str):
        return [Text(content)]
    if not isinstance(content, list):
        talk.beyond.append("messages.content")
        return []
    parts: list[Part] = []
    for given in content:
        kind = mapping(given).get("type")
        part: Part | None = None
        if kind in ("text", "refusal") and isinstance(given.get(kind), str):
            cache = given.get("cache_control")
            part = Text(given[kind], cache if isinstance(cache, dict) else None)
        elif kind == "image_url":
            part = _image(given.get("image_url"))
        if part is None:
            known = isinstance(kind, str) and kind in _KINDS
            talk.beyond.append(f"messages.content.{kind}" if known else "messages.content")
        else:
            parts.append(part)
    return parts


# Kinds that we know: a name in an error must not be the caller's text.
_KINDS = frozenset({"text", "refusal", "image_url", "input_audio", "file", "video_url"})


def _image(given: Any) -> Image | None:
    url = given if isinstance(given, str) else mapping(given).get("url")
    detail = mapping(given).get("detail") or "auto"
    if not isinstance(url, str) or not url or detail not in ("auto", "low", "high"):
        return None
    detail = "" if detail == "auto" else detail
    if url[:5].lower() != "data:":
        return Image(url=url, detail=detail)
    head, _, data = url[5:].partition(",")
    media_type, _, encoding = head.partition(";")
    if not media_type.startswith("image/") or encoding.strip().lower() != "base64" or not data:
        return None
    return Image(media_type=media_type, data=data, detail=detail)

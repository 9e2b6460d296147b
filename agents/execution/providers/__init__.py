"""Wire formats, one module each: pure functions from our request to theirs and back."""

from collections.abc import Mapping
from typing import Any, Protocol

from agents.execution.assembly import Delta
from agents.execution.outcome import Answer, Trouble
from agents.execution.providers import anthropic, google, openai, openai_compatible
from agents.execution.sse import Event
from schemas.catalog import Deployment


class Chunks(Protocol):
    """Translates the events of one stream, in order."""

    def read(self, event: Event) -> list[Delta] | Trouble | None:
        """OpenAI chunks, perhaps none; or an error; or None where the stream says that it is over."""
        ...


class Provider(Protocol):
    """What a wire format must offer."""

    def auth(self, deployment: Deployment, key: str) -> dict[str, str]:
        """Headers (lower-case names) that carry the key."""
        ...

    def unsupported(self, body: dict[str, Any]) -> tuple[str, ...]:
        """Names of the parts of an OpenAI chat body that this format cannot carry; total."""
        ...

    def request(self, deployment: Deployment, body: dict[str, Any], stream: bool) -> tuple[str, dict[str, str], bytes]:
        """(path below base_url, headers that depend on the format alone, JSON) of a body without `unsupported` parts."""
        ...

    def parse(self, status: int, headers: Mapping[str, str], body: bytes) -> Answer | Trouble:
        """A whole body, read. Never raises on what a provider may send."""
        ...

    def chunks(self, created: int) -> Chunks:
        """A reader of one stream. created: Unix seconds, for formats that do not tell."""
        ...


PROVIDERS: dict[str, Provider] = {
    "openai": openai,
    "openai_compatible": openai_compatible,
    "anthropic": anthropic,
    "google": google,
}

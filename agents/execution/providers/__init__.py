"""Wire formats, one module each: pure functions from our request to theirs and back."""

from collections.abc import Mapping
from typing import Any, Protocol

from agents.execution.outcome import Answer, Trouble
from agents.execution.providers import openai_compatible
from schemas.catalog import Deployment


class Provider(Protocol):
    """What a wire format must offer."""

    def auth(self, deployment: Deployment, key: str) -> dict[str, str]:
        """Headers (lower-case names) that carry the key."""
        ...

    def request(self, deployment: Deployment, body: dict[str, Any], stream: bool) -> tuple[str, dict[str, str], bytes]:
        """(path below base_url, headers that depend on the format alone, JSON) of an OpenAI chat body."""
        ...

    def parse(self, status: int, headers: Mapping[str, str], body: bytes) -> Answer | Trouble:
        """A whole body, read. Never raises on what a provider may send."""
        ...


PROVIDERS: dict[str, Provider] = {"openai": openai_compatible, "openai_compatible": openai_compatible}

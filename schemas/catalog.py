"""Models and deployments: what can serve a request, at what price, with which limits."""

import re
from collections.abc import Iterator, Sequence
from functools import cached_property
from typing import Annotated, Literal
from urllib.parse import urlsplit

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, field_serializer, model_validator
from pydantic_core import PydanticCustomError

from schemas.numbers import LEAST_WEIGHT, Count, Seconds, Share, Tokens, UsdPerMillion, Weight
from schemas.units import usd_to_nano

Category = Literal[
    "conversational", "code_generation", "creative_writing", "analysis", "multimodal", "function_calling"
]
ModelTier = Literal["flagship", "balanced", "efficient", "specialized"]
FallbackTier = Literal["primary", "secondary", "emergency", "local"]
ProviderName = Literal["openai", "anthropic", "google", "openai_compatible"]
Task = Literal[
    "conversation", "code", "creative_writing", "analysis", "math", "reasoning", "multimodal", "function_calling"
]
Refusal = Literal["sampling", "forced_tool"]
FALLBACK_TIERS: tuple[FallbackTier, ...] = ("primary", "secondary", "emergency", "local")


class Configured(BaseModel):
    """A part of the configuration: unknown keys are errors, values never change."""

    model_config = ConfigDict(frozen=True, extra="forbid", validate_default=False)


def credential_references(value: str | tuple[str, ...]) -> str | tuple[str, ...]:
    """A key never stands in the configuration or the log, only where to find it."""
    references = (value,) if isinstance(value, str) else value
    if not references or (not isinstance(value, str) and "" in references):
        raise ValueError("must hold a reference, env:NAME or file:PATH; leave it out where no key is needed")
    if any(reference and not reference.startswith(("env:", "file:")) for reference in references):
        raise ValueError("must be env:NAME or file:PATH, never the key itself")
    if len(set(references)) < len(references):
        raise ValueError("holds the same reference twice; name each credential once")
    return value


CredentialReference = Annotated[str, AfterValidator(credential_references)]
CredentialReferences = Annotated[str | tuple[str, ...], AfterValidator(credential_references)]


def reachable(url: str) -> str:
    """An address of HTTP; the log keeps it, so it holds no secret."""
    try:
        parts = urlsplit(url)
        whole = bool(parts.hostname) and (parts.port is None or parts.port > 0) and not re.search(r"[\s\x00-\x1f]", url)
    except ValueError:
        whole = False
    if not whole or parts.scheme not in ("http", "https"):
        raise ValueError("it is no address; write one such as https://api.example.com/v1")
    if parts.username or parts.password:
        raise ValueError("it holds a user or a password, which the log would keep; take them out")
    return url


def proxy_address(text: str) -> str:
    """The address of an HTTP proxy, or where it is to be found where it holds a password."""
    return text if not text or text.startswith(("env:", "file:")) else reachable(text)


HttpUrl = Annotated[str, AfterValidator(reachable)]
HEADER_NAME = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]+")
HEADER_VALUE = re.compile(r"[\x20-\x7e]*")


def sendable(headers: dict[str, str]) -> dict[str, str]:
    """A value may be a secret, so no error shows one."""
    for name, value in headers.items():
        if not HEADER_NAME.fullmatch(name):
            raise ValueError(f"{name!r} is no name of a header; use letters, digits and -")
        if not HEADER_VALUE.fullmatch(value):
            raise ValueError(f"the value of {name} cannot be sent; use ASCII on one line")
    return headers


class Prices(Configured):
    """US dollars per million tokens."""

    input: UsdPerMillion = 0.0
    output: UsdPerMillion = 0.0
    cache_read: UsdPerMillion | None = None
    cache_write: UsdPerMillion | None = None

    @cached_property
    def nano(self) -> tuple[int, int, int, int]:
        """Nano-USD per million tokens: input, output, cache read, cache write; the cache prices default to input's."""
        read = self.input if self.cache_read is None else self.cache_read
        write = self.input if self.cache_write is None else self.cache_write
        return usd_to_nano(self.input), usd_to_nano(self.output), usd_to_nano(read), usd_to_nano(write)


class Model(Configured):
    """A model's profile. `quality` is keyed by task, 0..1.

    `refuses`: what it answers with an error: sampling parameters that differ from 1, a tool that is forced on it.
    """

    id: str = Field(min_length=1)
    category: Category = "conversational"
    tier: ModelTier = "balanced"
    context_window: Tokens = 128_000
    max_output_tokens: Tokens = 8_192
    capabilities: frozenset[str] = frozenset()
    refuses: frozenset[Refusal] = frozenset()
    price_usd_per_million: Prices = Prices()
    quality: dict[Task, Share] = {}

    @field_serializer("capabilities", "refuses")
    def _sorted(self, names: frozenset[str]) -> list[str]:
        """A set has no order, and equal configurations must be equal texts."""
        return sorted(names)


class Limits(Configured):
    """None: no limit that we know of."""

    requests_per_minute: Count | None = None
    tokens_per_minute: Count | None = None
    concurrency: Count | None = None


class Timeouts(Configured):
    """Seconds."""

    connect_s: Seconds = 2.0
    first_byte_s: Seconds = 30.0
    between_chunks_s: Seconds = 15.0
    total_s: Seconds = 120.0


class Deployment(Configured):
    """An endpoint that serves a model with a credential, or with several: the next one where one is refused.

    `proxy`: http://HOST:PORT of an HTTP proxy that calls go through, or env:NAME or file:PATH of one with a password.
    """

    id: str = Field(min_length=1, max_length=200)
    provider: ProviderName
    model: str
    upstream_model: str = ""
    base_url: HttpUrl
    api_key: CredentialReferences = ""
    proxy: Annotated[str, AfterValidator(proxy_address)] = ""
    headers: Annotated[dict[str, str], AfterValidator(sendable)] = {}
    fallback_tier: FallbackTier = "primary"
    region: str = ""
    weight: Annotated[Weight, Field(ge=LEAST_WEIGHT)] = 1.0
    limits: Limits = Limits()
    timeouts: Timeouts = Timeouts()

    @property
    def credentials(self) -> tuple[str, ...]:
        """References in the order of their use; one empty one where no key is needed."""
        return (self.api_key,) if isinstance(self.api_key, str) else self.api_key


Problem = tuple[tuple[str | int, ...], str]
"""Where a catalog is wrong, and how."""


def _twice(section: str, items: Sequence[Model | Deployment]) -> Iterator[Problem]:
    """Ids that an earlier item has."""
    seen: set[str] = set()
    for place, item in enumerate(items):
        if item.id in seen:
            yield (section, place, "id"), f"{item.id} is the id of an earlier one; ids must be unique"
        seen.add(item.id)


class Catalog(Configured):
    """Deployments keep their order: events name them by index."""

    models: tuple[Model, ...] = ()
    deployments: tuple[Deployment, ...] = ()

    @model_validator(mode="after")
    def _consistent(self) -> "Catalog":
        known = {model.id for model in self.models}
        problems = [
            *_twice("models", self.models),
            *_twice("deployments", self.deployments),
            *(
                (("deployments", place, "model"), f"the models hold no {deployment.model}; add it to them")
                for place, deployment in enumerate(self.deployments)
                if deployment.model not in known
            ),
        ]
        if problems:
            text = "; ".join(f"{'.'.join(map(str, path))}: {message}" for path, message in problems)
            raise PydanticCustomError("inconsistent", "{text}", {"text": text, "problems": problems})
        return self

    @cached_property
    def model_by_id(self) -> dict[str, Model]:
        return {model.id: model for model in self.models}

    @cached_property
    def deployment_by_id(self) -> dict[str, Deployment]:
        return {deployment.id: deployment for deployment in self.deployments}

    @cached_property
    def index_by_id(self) -> dict[str, int]:
        """Place of each deployment in the catalog, as events name them."""
        return {deployment.id: index for index, deployment in enumerate(self.deployments)}

"""What a simulated provider does: its speed, its answers and the faults it shows."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from types import MappingProxyType
from typing import Any

import orjson

# "control" is the simulators' own path.
_NAME = re.compile(r"(?!control$)[a-z0-9][a-z0-9_-]*")


@dataclass(frozen=True, slots=True, kw_only=True)
class Outage:
    """A fault shown by every request between two moments, in seconds since the simulators started."""

    start_s: float
    end_s: float
    fault: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ProviderScript:
    """One provider's behaviour; JSON-able (`script_to_json`, `script_from_json`).

    latency_ms is the median time of a whole answer, lognormal with latency_sigma; its first token comes after
    first_token_share of it. With tokens_per_second set, the rest of the answer takes as long as its tokens need.
    errors maps a fault's name to its probability; reasoning_share is reasoning tokens per visible token;
    cached_share is the share of a prompt of 1,024 tokens or more that is billed as cached, in steps of 128;
    cache_write_share the share of its rest that is billed as written to the cache (google does not tell).
    context_window: tokens of prompt and answer together, null for no limit. models empty: every model name is served.
    """

    format: str = "openai"
    latency_ms: float = 80.0
    latency_sigma: float = 0.25
    first_token_share: float = 0.3
    tokens_per_second: float | None = None
    output_tokens_mean: float = 60.0
    reasoning_share: float = 0.0
    cached_share: float = 0.0
    cache_write_share: float = 0.0
    context_window: int | None = None
    errors: Mapping[str, float] = field(default_factory=lambda: MappingProxyType({}))
    requests_per_minute: int | None = None
    outages: tuple[Outage, ...] = ()
    models: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        for name, low, high in (
            ("latency_ms", 0.0, 3_600_000.0),
            ("latency_sigma", 0.0, 5.0),
            ("first_token_share", 0.0, 1.0),
            ("output_tokens_mean", 1.0, 16_000.0),
            ("reasoning_share", 0.0, 100.0),
            ("cached_share", 0.0, 1.0),
            ("cache_write_share", 0.0, 1.0),
        ):
            if not low <= getattr(self, name) <= high:
                raise ValueError(f"{name} is {getattr(self, name)}; give a number from {low:g} to {high:g}")
        if self.tokens_per_second is not None and self.tokens_per_second <= 0:
            raise ValueError("tokens_per_second must be above 0, or null for a time that does not depend on tokens")
        if self.requests_per_minute is not None and self.requests_per_minute < 0:
            raise ValueError("requests_per_minute must be 0 or more, or null for no limit")
        if self.context_window is not None and self.context_window < 1:
            raise ValueError("context_window must be 1 or more tokens, or null for no limit")
        if any(share < 0 for share in self.errors.values()) or sum(self.errors.values()) > 1.0 + 1e-9:
            raise ValueError("the probabilities in errors must be 0 or more and add up to at most 1")


def script_to_json(script: ProviderScript) -> dict[str, Any]:
    """The script as plain dicts, lists and numbers."""
    shown = {f.name: getattr(script, f.name) for f in fields(script)}
    shown["errors"] = dict(script.errors)
    shown["outages"] = [asdict(outage) for outage in script.outages]
    shown["models"] = list(script.models)
    return shown


def script_from_json(given: Mapping[str, Any]) -> ProviderScript:
    """Read a script; ValueError names a wrong key or value."""
    known = {f.name for f in fields(ProviderScript)}
    unknown = sorted(set(given) - known)
    if unknown:
        raise ValueError(f"a provider script has no {', '.join(unknown)}; its keys are {', '.join(sorted(known))}")
    values = dict(given)
    try:
        if "errors" in values:
            values["errors"] = MappingProxyType({str(k): float(v) for k, v in values["errors"].items()})
        if "outages" in values:
            values["outages"] = tuple(Outage(**outage) for outage in values["outages"])
        if "models" in values:
            values["models"] = tuple(str(model) for model in values["models"])
        return ProviderScript(**values)
    except (TypeError, AttributeError) as wrong:
        raise ValueError(f"a provider script holds a value of the wrong type ({wrong})") from None


def read_scripts(path: Path) -> dict[str, ProviderScript]:
    """Read {provider name: script} from a JSON file; ValueError says what to mend."""
    try:
        given = orjson.loads(path.read_bytes())
    except OSError as missing:
        raise ValueError(f"{path} cannot be read ({missing.strerror}); give a JSON file of provider scripts") from None
    except orjson.JSONDecodeError as broken:
        raise ValueError(f"{path} is not JSON ({broken}); give an object of provider name to script") from None
    if not isinstance(given, dict) or not all(isinstance(one, dict) for one in given.values()):
        raise ValueError(f"{path} must hold one object: provider name to script")
    return {checked_name(name): script_from_json(one) for name, one in given.items()}


def checked_name(name: str) -> str:
    """The name, if it can stand in a URL path."""
    if not _NAME.fullmatch(name):
        raise ValueError(f"provider name {name!r} must be lower-case letters, digits, - or _, and not 'control'")
    return name


DEFAULT_SCRIPTS: Mapping[str, ProviderScript] = MappingProxyType(
    {
        "alpha": ProviderScript(
            latency_ms=80.0,
            errors=MappingProxyType(
                {"status_500": 0.006, "status_503": 0.004, "status_429": 0.004, "reset_before_headers": 0.003}
                | {"half_body": 0.001, "garbage": 0.001, "empty_completion": 0.001}
            ),
        ),
        "beta": ProviderScript(latency_ms=120.0, errors=MappingProxyType({"status_529": 0.005})),
        "gamma": ProviderScript(latency_ms=250.0, latency_sigma=0.4, errors=MappingProxyType({"status_502": 0.005})),
        "local": ProviderScript(latency_ms=400.0),
    }
)

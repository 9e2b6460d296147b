"""Many simulated providers behind one port of 127.0.0.1."""

from __future__ import annotations

import asyncio
import random
import socket
from collections.abc import Mapping
from hashlib import blake2b
from math import exp
from time import time
from types import TracebackType
from typing import Any, Final, Self

from aiohttp import web

from infra.simulators import anthropic, google, openai
from infra.simulators.behaviours import Setting, refuse
from infra.simulators.bill import Bill, Call
from infra.simulators.control import answer_control
from infra.simulators.exchange import SENT_CLOSE, SENT_KEEP, Exchange
from infra.simulators.faults import FAULTS, STREAM_ONLY, checked_fault
from infra.simulators.script import ProviderScript, checked_name
from infra.simulators.text import Corpus
from infra.simulators.wire import Answer, Ask, Format, Refused, compose

FORMATS: Final[Mapping[str, Format]] = {"openai": openai, "anthropic": anthropic, "google": google}
_WINDOW_S: Final = 60.0


class Provider:
    """A provider's state: its random source, its rate window and the fault switched on."""

    __slots__ = (
        "_corpus", "_key", "_window_end", "_window_used", "errors", "fault", "format", "name", "rng", "script",
        "served",
    )  # fmt: skip

    def __init__(self, name: str, script: ProviderScript, seed: int, corpus: Corpus) -> None:
        if script.format not in FORMATS:
            raise ValueError(f"provider {name} has format {script.format!r}; use one of {', '.join(FORMATS)}")
        self.name = checked_name(name)
        self.script = script
        self.format = FORMATS[script.format]
        self.errors = [(checked_fault(fault), share) for fault, share in script.errors.items()]
        for outage in script.outages:
            checked_fault(outage.fault)
        self.fault: Setting | None = None
        self._key = blake2b(f"{seed}/{name}".encode(), digest_size=32).digest()
        self.rng = random.Random(self._key)
        self._corpus = corpus
        self.served = 0
        self._window_end = 0.0
        self._window_used = 0

    def answer(self, ask: Ask) -> Answer:
        return compose(ask, self._key, self.script, self._corpus)

    def draw(self) -> tuple[float, float]:
        """(latency in seconds, uniform): the same for the n-th request of every run with the same seed."""
        z, share = self.rng.gauss(0.0, 1.0), self.rng.random()
        return self.script.latency_ms / 1000 * exp(self.script.latency_sigma * z), share

    def take(self, now: float) -> tuple[bool, int, float]:
        """Count a request in its fixed minute: (admitted, remaining, seconds until the minute ends)."""
        limit = self.script.requests_per_minute
        assert limit is not None
        if now >= self._window_end:
            self._window_end, self._window_used = now + _WINDOW_S, 0
        admitted = self._window_used < limit
        self._window_used += admitted
        return admitted, limit - self._window_used, self._window_end - now

    def due_fault(self, now: float, age_s: float, share: float) -> Setting | None:
        """What this request shows: a switched fault, else a scripted outage, else one of the error mix."""
        fault = self.fault
        if fault is not None:
            if fault.until is not None and now >= fault.until:
                self.fault = None
            elif share < fault.share:
                return fault
            else:
                # One draw a request keeps runs alike, so what is left of it decides on the mix below.
                share = (share - fault.share) / (1.0 - fault.share)
        for outage in self.script.outages:
            if outage.start_s <= age_s < outage.end_s:
                return Setting(name=outage.fault)
        for name, probability in self.errors:
            if share < probability:
                return Setting(name=name)
            share -= probability
        return None


class Simulator:
    """All providers of one port. seed: the same seed gives the same answers and the same draws by request number."""

    def __init__(self, seed: int, providers: Mapping[str, ProviderScript], *, bill_limit: int = 200_000) -> None:
        if not providers:
            raise ValueError("give at least one provider to simulate")
        corpus = Corpus(seed)
        self.seed = seed
        self.providers = {name: Provider(name, script, seed, corpus) for name, script in providers.items()}
        self.bill = Bill(tuple(providers), bill_limit)
        self.started = asyncio.get_running_loop().time()
        # So that ids of two runs differ.
        self._run = f"{int(time()):x}"
        each = self.providers.values()
        self._chat = {f"/{p.name}{path}": p for p in each for path in p.format.CHAT_PATHS}
        self._models = {f"/{p.name}{path}": p for p in each for path in p.format.MODELS_PATHS}

    def age_s(self) -> float:
        """Seconds since the start."""
        return asyncio.get_running_loop().time() - self.started

    def control(
        self,
        name: str,
        fault: str | None,
        *,
        share: float = 1.0,
        for_s: float | None = None,
        seconds: float | None = None,
        stall_after: int | None = None,
        retry_after_s: float | None = None,
    ) -> None:
        """Switch a provider's fault on, or off with None. ValueError names what is allowed."""
        if name not in self.providers:
            raise ValueError(f"there is no provider {name!r}; use one of {', '.join(self.providers)}")
        if fault is None:
            self.providers[name].fault = None
            return
        checked_fault(fault)
        if not 0.0 <= share <= 1.0:
            raise ValueError(f"share is {share}; give the share of requests, from 0 to 1")
        if any(given is not None and given < 0 for given in (for_s, seconds, stall_after, retry_after_s)):
            raise ValueError("for_s, seconds, stall_after and retry_after_s must be 0 or more, or null")
        until = None if for_s is None else asyncio.get_running_loop().time() + for_s
        self.providers[name].fault = Setting(
            name=fault, share=share, until=until, seconds=seconds, stall_after=stall_after, retry_after_s=retry_after_s
        )

    async def handle(self, request: web.BaseRequest) -> web.StreamResponse:
        """Answer one request of any path."""
        path = request.path
        provider = self._chat.get(path)
        if provider is not None and request.method == "POST":
            return await self._chat_call(provider, request)
        if path == "/control" or path.startswith("/control/"):
            return await answer_control(self, request)
        name, _, rest = path[1:].partition("/")
        named = self.providers.get(name)
        pattern = None if named is None else named.format.CHAT_PATTERN
        if named is not None and pattern is not None and pattern.fullmatch("/" + rest):
            if request.method == "POST":
                return await self._chat_call(named, request)
            provider = named
        known = provider or self._models.get(path)
        if known is not None and provider is None and request.method == "GET":
            names = known.script.models or (f"{known.name}-chat",)
            return web.Response(body=known.format.models(names, int(time())), content_type="application/json")
        wire = openai if named is None else named.format
        refusal = wire.REFUSALS["unknown_path" if known is None else "wrong_method"]
        body = wire.error(refusal, f"req_{self._run}_none")
        return web.Response(status=refusal.status, body=body, content_type="application/json")

    async def _chat_call(self, provider: Provider, request: web.BaseRequest) -> web.StreamResponse:
        now = asyncio.get_running_loop().time()
        provider.served += 1
        request_id = f"req_{provider.name}_{self._run}_{provider.served}"
        latency_s, share = provider.draw()
        wire, script = provider.format, provider.script
        answer_id = f"{wire.ANSWER_PREFIX}{self._run}{provider.name}{provider.served}"
        admitted, remaining, reset_s = True, 0, 0.0
        if script.requests_per_minute is not None:
            admitted, remaining, reset_s = provider.take(now)
        headers = wire.request_headers(request_id, script.requests_per_minute, remaining, reset_s)
        exchange = Exchange(request, wire, script, now, request_id, answer_id, headers, latency_s, provider.answer)
        outcome, aborted = "ok", False
        try:
            fault = provider.due_fault(now, now - self.started, share)
            if fault is not None and fault.name == "refuse":
                outcome = fault.name
                await refuse(exchange, fault)
                return SENT_CLOSE
            body = await request.content.read()
            try:
                exchange.ask = ask = wire.read(body, script, request.raw_path, request.headers)
                if script.context_window is not None and ask.prompt_tokens > script.context_window:
                    raise Refused(wire.context_length(ask.prompt_tokens, script.context_window))
            except Refused as refused:
                outcome = "rejected"
                exchange.refuse(refused.refusal)
                return SENT_KEEP
            if not admitted:
                outcome = "rate_limited"
                exchange.refuse(wire.REFUSALS["rate_limited"], reset_s)
            elif fault is None or (fault.name in STREAM_ONLY and not exchange.ask.stream):
                await exchange.deliver()
            else:
                outcome = fault.name
                await FAULTS[fault.name](exchange, fault)
            return SENT_KEEP if exchange.keep and request.keep_alive else SENT_CLOSE
        except asyncio.CancelledError:
            aborted = True
            raise
        except ConnectionError:
            aborted = True
            return SENT_CLOSE
        finally:
            self.bill.add(
                Call(
                    round(now - self.started, 6),
                    provider.name,
                    request_id,
                    request.headers.get("x-turnout-attempt"),
                    exchange.status,
                    outcome,
                    exchange.prompt_tokens,
                    exchange.completion_tokens,
                    exchange.cached_tokens,
                    exchange.ask is not None and exchange.ask.max_tokens == 1,
                    aborted,
                )
            )


class RunningSimulators:
    """A listening simulator; `async with` closes it, its connections at once."""

    def __init__(self, simulator: Simulator, runner: web.ServerRunner, port: int, closed: socket.socket) -> None:
        self.simulator = simulator
        self.port = port
        self._runner = runner
        self._closed = closed

    def base_url(self, name: str) -> str:
        """What a client of the provider takes as its base URL, with the version."""
        return f"{self._checked(name, self.port)}/v1"

    def root_url(self, name: str) -> str:
        """The same without a version, as the SDKs of Anthropic and Google take it."""
        return self._checked(name, self.port)

    def refusing_url(self, name: str) -> str:
        """As `base_url`, at a port that is kept but not listened on: the system refuses every connect."""
        return f"{self._checked(name, int(self._closed.getsockname()[1]))}/v1"

    def _checked(self, name: str, port: int) -> str:
        if name not in self.simulator.providers:
            raise ValueError(f"there is no provider {name!r}; use one of {', '.join(self.simulator.providers)}")
        return f"http://127.0.0.1:{port}/{name}"

    def control(self, name: str, fault: str | None, **how: Any) -> None:
        """Switch a fault; keywords as in `Simulator.control`."""
        self.simulator.control(name, fault, **how)

    def bill(self, *, requests: bool = False) -> dict[str, Any]:
        """What GET /control/bill shows."""
        return self.simulator.bill.shown(requests=requests)

    async def close(self) -> None:
        """Stop listening and drop every connection."""
        self._closed.close()
        await self._runner.cleanup()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()


async def start_simulators(
    scripts: Mapping[str, ProviderScript], *, port: int = 0, seed: int = 0, bill_limit: int = 200_000
) -> RunningSimulators:
    """Listen on 127.0.0.1 (port 0: any free one). OSError: the port is taken; ValueError: a script is wrong."""
    simulator = Simulator(seed, scripts, bill_limit=bill_limit)
    # handler_cancellation: a caller that leaves is seen at once, also in the middle of a wait.
    server = web.Server(
        simulator.handle, access_log=None, handler_cancellation=True, keepalive_timeout=300.0, lingering_time=0.0
    )
    runner = web.ServerRunner(server, shutdown_timeout=0.1)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", port, backlog=2048).start()
    except OSError:
        await runner.cleanup()
        raise
    closed = socket.socket()
    closed.bind(("127.0.0.1", 0))
    return RunningSimulators(simulator, runner, int(runner.addresses[0][1]), closed)

"""A worker's own pages: /health for liveness, /metrics for Prometheus. Nothing else."""

import contextlib
import time
from collections.abc import AsyncIterator, Iterator
from typing import TYPE_CHECKING

import structlog
from aiohttp import web
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric

from schemas.errors import OperationError

if TYPE_CHECKING:
    from streams.worker import Worker

log = structlog.get_logger()


class WorkerPages:
    """Reads a worker for its pages; a Prometheus collector."""

    def __init__(self, worker: "Worker") -> None:
        self._worker = worker
        self._started = time.monotonic()

    def collect(self) -> Iterator[Metric]:
        worker = self._worker
        yield GaugeMetricFamily("turnout_uptime_seconds", "Since start.", time.monotonic() - self._started)
        if worker.tasks is not None:
            yield GaugeMetricFamily("turnout_requests_in_flight", "Requests under way.", worker.tasks.count)
            completed = worker.tasks.completed
            yield CounterMetricFamily("turnout_requests_completed", "Requests served to their end.", completed)
        if worker.projector is not None:
            yield CounterMetricFamily("turnout_events_folded", "Events folded.", worker.projector.events)
            paused = sum(1 for owned in worker.projector.owned.values() if owned.paused)
            yield GaugeMetricFamily("turnout_partitions_paused", "Partitions that stand still.", paused)
        circuits = GaugeMetricFamily("turnout_circuit_open", "1 open, 0.5 half-open, 0 closed.", labels=["deployment"])
        for deployment, circuit in worker.view.circuits.items():
            circuits.add_metric([deployment], {"open": 1.0, "half_open": 0.5, "closed": 0.0}[circuit.status])
        yield circuits

    async def health(self, _: web.Request) -> web.Response:
        worker = self._worker
        healthy = not worker.failed.done()
        paused = {
            f"{owned.tp.topic}-{owned.tp.partition}": owned.paused
            for owned in (worker.projector.owned.values() if worker.projector else ())
            if owned.paused
        }
        document = {
            "status": "ok" if healthy else "failed",
            "worker": worker.name,
            "leases": {role: app.ownership.lease.valid() for role, app in worker.apps.items()},
            "paused": paused,
        }
        return web.json_response(document, status=200 if healthy else 503)

    async def metrics(self, _: web.Request) -> web.Response:
        registry = CollectorRegistry(auto_describe=False)
        registry.register(self)
        return web.Response(body=generate_latest(registry), headers={"Content-Type": "text/plain; version=0.0.4"})


@contextlib.asynccontextmanager
async def serve_pages(pages: WorkerPages, port: int) -> AsyncIterator[int]:
    """Serve on loopback; 0 takes any free port. Raises OperationError when the port is taken."""
    app = web.Application()
    app.router.add_get("/health", pages.health)
    app.router.add_get("/metrics", pages.metrics)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    try:
        site = web.TCPSite(runner, "127.0.0.1", port)
        try:
            await site.start()
        except OSError:
            raise OperationError(
                f"Port {port} is taken; set web.port to another one, or to 0 for any free port."
            ) from None
        bound = int(runner.addresses[0][1])
        log.info("pages served", url=f"http://127.0.0.1:{bound}/metrics")
        yield bound
    finally:
        await runner.cleanup()

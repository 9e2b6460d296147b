"""A new version of a fold builds from the log's start while the old one's states serve, and takes over without a gap."""

from dataclasses import replace

import pytest
from loop import Bench, catalog, chat, prepared, running, settings_for
from processes import HeldProvider

from infra.kafka import EmbeddedKafka
from projections.circuit import CircuitFold
from projections.health import HealthFold
from projections.partition import fold_versions
from schemas.events import CircuitOpened
from schemas.snapshots import Snapshot, encode_value
from schemas.state import HealthBucket, HealthState
from streams.view import StateView

CALLS = 12


def succeeded(view: StateView) -> int:
    health = view.health.get("a")
    return sum(bucket.succeeded for bucket in health.buckets) if health else 0


async def test_the_old_version_serves_until_the_new_one_is_built(
    kafka: EmbeddedKafka, prefix: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    provider = HeldProvider()
    async with provider.serving():
        # Nobody listens at the second: its circuit opens.
        document = catalog(provider.base_url, {"a": "secondary", "down": "primary"})
        next(each for each in document["deployments"] if each["id"] == "down")["base_url"] = "http://127.0.0.1:1/v1"
        settings = await prepared(settings_for(kafka.bootstrap_servers, prefix, document))
        async with Bench(settings) as bench:
            async with running(settings) as worker:
                for number in range(CALLS):
                    await bench.publish(chat(), request_id=f"before-{number}")
                await bench.answers_of([f"before-{number}" for number in range(CALLS)])
                await bench.until(lambda: succeeded(worker.view) == CALLS)
                await bench.until(lambda: worker.view.circuits["down"].status != "closed")
            opened = [event for event in await bench.events("transitions") if isinstance(event, CircuitOpened)]
            first = opened[0].event_id

            # The next release: two of the folds count anew.
            monkeypatch.setattr(HealthFold, "version", HealthFold.version + 1)
            monkeypatch.setattr(CircuitFold, "version", CircuitFold.version + 1)
            async with running(settings) as worker:
                view, seen = worker.view, []
                await bench.until(lambda: succeeded(view) or "down" in view.circuits)
                for number in range(CALLS):
                    await bench.publish(chat(), request_id=f"after-{number}")
                    seen.append((succeeded(view), view.circuits["down"].status))

                def built() -> bool:
                    seen.append((succeeded(view), view.circuits["down"].status))
                    return any(
                        s.kind == "health" and s.fold_version == HealthFold.version for s in view.snapshots.values()
                    )

                await bench.until(lambda: built() and succeeded(view) == 2 * CALLS)
                await bench.answers_of([f"after-{number}" for number in range(CALLS)])
            assert min(known for known, _ in seen) >= CALLS
            assert all(status != "closed" for _, status in seen)
            again = [event.event_id for event in await bench.events("transitions") if isinstance(event, CircuitOpened)]
            assert again.count(first) == 1, "what the old version derived from the log stands there already"


def state(version: int, calls: int, value: bytes | None = None) -> Snapshot:
    found = encode_value(HealthState((HealthBucket(1, calls),)))
    return Snapshot("health", version, "a", "llm.attempts", 0, 5, 9, 1, found if value is None else value)


def test_the_newest_version_that_this_release_knows_counts_in_any_order() -> None:
    versions = fold_versions() | {"health": 3}
    for order in ([1, 2, 3], [3, 2, 1], [2, 3, 1]):
        view = StateView(versions=versions)
        for version in order:
            view.put(state(version, version))
        assert succeeded(view) == 3
    view.put(replace(state(4, 9), epoch=99))
    assert succeeded(view) == 3, "what a later release folds is not ours to read"


def test_an_old_shape_that_nobody_reads_any_more_is_passed_over() -> None:
    view = StateView(versions=fold_versions() | {"health": 3})
    view.put(state(2, 0, b'{"minutes": "of another shape"}'))
    assert succeeded(view) == 0
    view.put(state(3, 7))
    assert succeeded(view) == 7

"""The bench of alarms: what is injected is known, found and named, and a world without incidents is quiet."""

from infra.bench.alarms import Watched, cause_of, measure, watched


def test_every_injected_incident_is_told_restored_and_explained() -> None:
    figures = measure(seeds=1, breaches=30)
    assert figures["sla_missed"] == figures["restored_missed"] == figures["anomaly_missed"] == 0
    named = figures["cause_named"]
    assert named is not None
    assert named >= 0.8


def test_a_seed_is_always_the_same_hour() -> None:
    one, other = watched(3), watched(3)
    assert (one.breached, one.restored, one.anomalies) == (other.breached, other.restored, other.anomalies)
    assert cause_of(5) == cause_of(5)


def test_what_no_incident_explains_is_false() -> None:
    seen = Watched(
        {"slow": (100, 700)}, breached={("slow", "latency_p95_ms"): [120, 1_001], ("well", "success_rate"): [150]}
    )
    seen.anomalies = [
        ("slow", "latency_p50_ms", 180),
        ("well", "failure_share", 180),
        ("slow", "latency_p50_ms", 1_700),
    ]
    assert seen.false_breaches == 2
    assert seen.false_anomalies == 2
    assert seen.delays(seen.breached, 0, 0) == [20]
    assert seen.delays({}, 0, 0) == [None]

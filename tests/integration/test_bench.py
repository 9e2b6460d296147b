"""The benchmark's command runs to its end and says what it promises; how fast is its own business."""

import json
import math
from pathlib import Path

import pytest

from infra.bench import side_by_side
from infra.bench.pipeline import main

PROMISED = {
    "worker_cpu_ms_per_request", "router_cpu_ms_per_request", "projector_cpu_ms_per_request", "sink_cpu_ms_per_request",
    "broker_cpu_ms_per_request", "to_provider_ms_p50", "to_provider_ms_p95", "to_provider_ms_p99", "max_rate_per_s",
    "worker_rss_mb", "direct_cpu_ms_per_request", "direct_ms_p50", "direct_ms_p95", "direct_ms_p99",
}  # fmt: skip


def test_a_tiny_run_says_everything(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    file = tmp_path / "pipeline.json"
    assert main(["--rate", "20", "--seconds", "2", "--split", "--json", str(file)]) == 0, capsys.readouterr().err
    results = json.loads(file.read_text())
    assert results == json.loads(capsys.readouterr().out)
    assert results.keys() >= PROMISED
    assert all(isinstance(value, int | float) and math.isfinite(value) for value in results.values())
    assert results["errors"] == results["unanswered"] == 0


def test_turnout_stands_beside_a_direct_call(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    file = tmp_path / "side_by_side.json"
    options = ["--rate", "10", "--in-flight", "5", "--seconds", "2", "--json", str(file)]
    assert side_by_side.main(options) == 0
    results = json.loads(file.read_text())
    for name in ("turnout", "direct"):
        assert results[f"{name}_errors"] == 0
        assert results[f"{name}_max_rate_per_s"] > 0
        assert all(math.isfinite(results[f"{name}_added_ms_p{rank}"]) for rank in (50, 95, 99))
    assert results["turnout_unanswered"] == 0

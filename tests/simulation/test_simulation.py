"""Worlds from seeds: the design holds in all of them, and every defect is found by the promise it breaks."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from simulation import defects
from simulation.defects import DEFECTS, FOUND_BY
from simulation.faults import FAULTS

CLEAN = range(50)
RUN = Path(__file__).with_name("run.py")


def _worlds(*names: str) -> dict[str, dict[str, Any]]:
    """In a process of its own, whose hashes are the same each time."""
    ended = subprocess.run(
        [sys.executable, str(RUN), "--only", *names], capture_output=True, text=True, check=True,
        env={**os.environ, "PYTHONHASHSEED": "0"},
    )  # fmt: skip
    return {line["world"]: line for line in map(json.loads, ended.stdout.splitlines())}


@pytest.fixture(scope="module")
def broken() -> dict[str, dict[str, Any]]:
    """Every defect's world."""
    return _worlds(*(f"{name}:{seed}" for name, (seed, _) in FOUND_BY.items()))


@pytest.fixture(scope="module")
def clean() -> dict[str, dict[str, Any]]:
    """Worlds of the product as it is."""
    return _worlds(*(f"none:{seed}" for seed in CLEAN))


def test_no_promise_is_broken(clean: dict[str, dict[str, Any]]) -> None:
    for name, world in clean.items():
        assert not world["found"], "\n".join([*world["trace"], name, *world["found"]])


def test_every_fault_strikes(clean: dict[str, dict[str, Any]]) -> None:
    assert {kind for world in clean.values() for kind in world["faults"]} == FAULTS.keys()


def test_what_is_found_is_found_within_a_thousand_seeds() -> None:
    assert all(seed < 1000 for seed, _ in FOUND_BY.values())


@pytest.mark.parametrize("defect", sorted(FOUND_BY))
def test_a_defect_is_found_by_its_own_promise(defect: str, broken: dict[str, dict[str, Any]]) -> None:
    seed, promise = FOUND_BY[defect]
    found = broken[f"{defect}:{seed}"]["found"]
    assert any(sentence.startswith(f"{promise}: ") for sentence in found), found


def test_every_defect_stands_in_the_table() -> None:
    assert FOUND_BY.keys() | defects.UNFOUND == DEFECTS.keys()
    for name, (seed, promise) in FOUND_BY.items():
        assert f"{name:<25}{seed:<6}{promise}" in (defects.__doc__ or "")


def test_a_seed_is_always_the_same_world(broken: dict[str, dict[str, Any]]) -> None:
    name = f"no-lease:{FOUND_BY['no-lease'][0]}"
    assert _worlds(name)[name]["trace"] == broken[name]["trace"]

"""The catalog of today's models, and decisions made without calling anyone."""

from datetime import date
from pathlib import Path

import orjson
import pytest
import yaml

from infra.catalog.models import known_models
from infra.cli.main import run_command
from schemas.policy import Configuration

DAY = date(2026, 11, 25)


def test_every_model_has_its_prices_of_the_day_with_their_version() -> None:
    for known in known_models(DAY):
        assert (known.model.price_usd_per_million.output > 0) == bool(known.priced_as), known.model.id
        assert known.price_date == DAY
        assert known.price_version.startswith("genai-prices ") == bool(known.priced_as)
    ids = [known.model.id for known in known_models(DAY)]
    assert len(set(ids)) == len(ids)


def test_what_import_prints_is_a_catalog(capsys: pytest.CaptureFixture[str]) -> None:
    assert run_command(["catalog", "import", "--provider", "anthropic"]) == 0
    printed = capsys.readouterr().out
    models = Configuration.model_validate(yaml.safe_load(printed)).catalog.models
    assert "claude-opus-5-5" in {model.id for model in models}
    assert "genai-prices" in printed.splitlines()[0]


def test_show_names_what_comes_close(capsys: pytest.CaptureFixture[str]) -> None:
    assert run_command(["catalog", "show", "gpt-5-mini"]) == 0
    assert "price_date" in capsys.readouterr().out
    assert run_command(["catalog", "show", "gpt-5-min"]) == 1
    assert "gpt-5-mini" in capsys.readouterr().err


@pytest.fixture
def files(tmp_path: Path) -> tuple[str, str]:
    deployments = [
        {"id": name, "provider": "openai", "model": model, "base_url": "http://127.0.0.1:1"}
        for name, model in (("dear", "large"), ("cheap", "small"), ("blind", "text"))
    ]
    models = [
        {"id": name, "capabilities": ["vision"] if name != "text" else [], "quality": {"code": 0.8},
         "price_usd_per_million": {"input": price, "output": price}}
        for name, price in (("large", 10), ("small", 1), ("text", 0.1))
    ]  # fmt: skip
    config, request = tmp_path / "turnout.yaml", tmp_path / "request.json"
    config.write_text(yaml.safe_dump({"catalog": {"models": models, "deployments": deployments}}))
    image = [{"type": "image_url", "image_url": {"url": "http://127.0.0.1/a.png"}}]
    body = {"messages": [{"role": "user", "content": image}], "routing": {"strategy": "cost"}}
    request.write_bytes(orjson.dumps(body))
    return str(config), str(request)


def test_decide_shows_candidates_in_one_table(files: tuple[str, str], capsys: pytest.CaptureFixture[str]) -> None:
    config, request = files
    assert run_command(["decide", request, "--config", config]) == 0
    lines = capsys.readouterr().out.splitlines()
    head = next(number for number, line in enumerate(lines) if line.startswith("candidate "))
    assert lines[head + 1].startswith("cheap ")
    assert lines[head + 2].startswith("dear ")
    assert len({len(line) for line in lines[head : head + 3]}) == 1
    assert "Left out blind: vision." in lines


def test_decide_as_json_and_what_it_cannot_decide(files: tuple[str, str], capsys: pytest.CaptureFixture[str]) -> None:
    config, request = files
    assert run_command(["decide", request, "--config", config, "--json"]) == 0
    told = orjson.loads(capsys.readouterr().out)
    assert [step["deployment"] for step in told["plan"]] == ["cheap", "dear"]
    assert told["candidates"][0]["estimates"]["score"] > told["candidates"][1]["estimates"]["score"]
    Path(request).write_bytes(b'{"model": "nobody", "messages": [{"role": "user", "content": "hi"}]}')
    assert run_command(["decide", request, "--config", config]) == 1
    assert "nobody" in capsys.readouterr().err
    Path(request).write_bytes(b'{"messages": [],\n"model"\n}')
    assert run_command(["decide", request, "--config", config]) == 2
    assert capsys.readouterr().err.startswith(f"{request}:3: this is not a JSON object")
    Path(request).write_bytes(b'{"messages": []}\n{"messages": []}\n')
    assert run_command(["decide", request, "--config", config]) == 2
    assert "holds 2 requests" in capsys.readouterr().err

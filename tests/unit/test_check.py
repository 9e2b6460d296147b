"""`turnout check`: what a file gets wrong, in one line each."""

from pathlib import Path

import pytest
from cli_run import run

FIVE_MISTAKES = """\
kafka:
  partitons: 8
  event_retention_days: 20
catalog:
  models:
    - {id: small, tier: middling}
  deployments:
    - id: one
      provider: openai
      model: small
      base_url: https://example.invalid
      api_key: env:TURNOUT_TEST_NO_SUCH_KEY
budgets:
  - {scope: "tenant:acme", period: month, limit_usd: 5}
circuit:
  failure_threshold: 0
"""


def test_check_names_five_mistakes_with_their_lines(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    file = tmp_path / "turnout.yaml"
    file.write_text(FIVE_MISTAKES)
    status, out, err = run(capsys, "check", "--config", str(file))
    assert (status, out) == (2, "")
    for line, words_there in (
        (2, "partitons"), (3, "event_retention_days: 20 is too short"), (6, "catalog.models.0.tier"),
        (12, "env:TURNOUT_TEST_NO_SUCH_KEY"), (16, "circuit.failure_threshold"),
    ):  # fmt: skip
        assert any(said.startswith(f"{file}:{line}: ") and words_there in said for said in err.splitlines()), err
    assert len(err.splitlines()) == 5


def test_check_names_each_credential_that_is_missing(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    (tmp_path / "key").write_text("k-1\n")
    file = tmp_path / "turnout.yaml"
    file.write_text(
        "catalog:\n  models: [{id: small}]\n  deployments:\n"
        "    - id: one\n      provider: openai\n      model: small\n      base_url: 'http://127.0.0.1:1'\n"
        f"      api_key:\n        - 'file:{tmp_path}/key'\n        - env:TURNOUT_TEST_NO_SUCH_KEY\n"
    )
    status, _, err = run(capsys, "check", "--config", str(file))
    assert status == 2
    assert err.startswith(f"{file}:10: ")
    assert "env:TURNOUT_TEST_NO_SUCH_KEY" in err
    assert len(err.splitlines()) == 1
    for wrong in ("[]", "[env:A, env:A]", "[env:A, sk-1]", "[env:A, '']"):
        text = file.read_text().partition("      api_key:")[0] + f"      api_key: {wrong}\n"
        (tmp_path / "wrong.yaml").write_text(text)
        status, _, err = run(capsys, "check", "--config", str(tmp_path / "wrong.yaml"))
        assert status == 2
        assert "api_key" in err
        assert "sk-1" not in err


def test_check_says_what_is_there(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    key = tmp_path / "key"
    key.write_text("k-1\n")
    file = tmp_path / "turnout.yaml"
    file.write_text(
        "catalog:\n  models: [{id: small}]\n  deployments:\n"
        f"    - {{id: one, provider: openai, model: small, base_url: 'http://127.0.0.1:1', api_key: 'file:{key}'}}\n"
    )
    status, out, err = run(capsys, "check", "--config", str(file))
    assert (status, err) == (0, "")
    assert out.startswith(f"ok: {file}: 1 model, 1 deployment, 0 budgets")
    key.write_text("")
    status, _, err = run(capsys, "check", "--config", str(file))
    assert status == 2
    assert "is empty" in err
    assert f"{file}:4: " in err


@pytest.mark.parametrize(
    ("text", "line", "part"),
    [
        ("budgets:\n  - {scope: global, limit_usd: 1}\n  - {scope: global, limit_usd: 2}\n", 3, "earlier one"),
        ("tenants:\n  - {id: a, topic: x}\n  - {id: b, topic: x}\n", 3, "tenants.1.topic"),
        ("worker:\n  drain_s: 70\n", 2, "drain_s"),
        ("kafka: [\n", 2, "YAML"),
    ],
)
def test_check_sees_what_no_single_key_shows(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, text: str, line: int, part: str
) -> None:
    file = tmp_path / "turnout.yaml"
    file.write_text(text)
    status, _, err = run(capsys, "check", "--config", str(file))
    assert status == 2
    assert err.startswith(f"{file}:{line}: ")
    assert part in err


def test_check_of_a_file_that_is_not_there(capsys: pytest.CaptureFixture[str]) -> None:
    status, out, err = run(capsys, "check", "--config", "/no/such/file")
    assert (status, out) == (2, "")
    assert err.startswith("/no/such/file cannot be read")


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"\x00\x01", "characters are not allowed"),
        (b"web: {port: 1}\n# caf\xe9\n", "byte 20 is not UTF-8"),
        (b"web:\n  port: !env PORT\n", ":2: could not determine a constructor for the tag '!env'"),
        (b"kafka: &self\n  x: *self\n", "kafka.x holds itself"),
        (b"sla: []\nweb: {port: 0}\nsla: []\n", ":3: sla stands on line 1 already"),
        (b"web:\n  port: 0\n  port: 1\n", ":3: web.port stands on line 2 already"),
    ],
)
def test_a_file_that_yaml_would_misread_is_refused(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, content: bytes, said: str
) -> None:
    file = tmp_path / "turnout.yaml"
    file.write_bytes(content)
    status, out, err = run(capsys, "check", "--config", str(file))
    assert (status, out) == (2, "")
    assert said in err
    assert len(err.splitlines()) == 1


def test_a_catalog_names_all_that_does_not_fit_together(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    file = tmp_path / "turnout.yaml"
    endpoint = "provider: openai, base_url: 'http://127.0.0.1:1'"
    file.write_text(
        "catalog:\n  models:\n    - {id: Small}\n    - {id: Small}\n  deployments:\n"
        f"    - {{id: one, model: Small, {endpoint}}}\n    - {{id: one, model: large, {endpoint}}}\n"
    )
    status, _, err = run(capsys, "check", "--config", str(file))
    assert status == 2
    assert err.splitlines() == [
        f"{file}:4: catalog.models.1.id: Small is the id of an earlier one; ids must be unique",
        f"{file}:7: catalog.deployments.1.id: one is the id of an earlier one; ids must be unique",
        f"{file}:7: catalog.deployments.1.model: the models hold no large; add it to them",
    ]


@pytest.mark.parametrize(
    ("metric", "limits", "wrong"),
    [
        ("latency_p95_ms", "target: 500, warning: 900, critical: 2000", False),
        ("latency_p95_ms", "target: 500, critical: 400", True),
        ("availability", "target: 0.99, warning: 0.95, critical: 0.9", False),
        ("availability", "target: 0.99, warning: 0.995", True),
    ],
)
def test_limits_of_a_target_go_from_good_to_bad(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, metric: str, limits: str, wrong: bool
) -> None:
    file = tmp_path / "turnout.yaml"
    file.write_text(f"sla:\n  - {{metric: {metric}, {limits}}}\n")
    status, _, err = run(capsys, "check", "--config", str(file))
    assert status == (2 if wrong else 0)
    assert (f"{file}:2: sla.0: it warns" in err) is wrong


def test_check_warns_of_names_that_nothing_has(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    file = tmp_path / "turnout.yaml"
    file.write_text(
        "catalog:\n  models: [{id: small, capabilities: [tool, streaming]}]\n"
        "  deployments: [{id: one, provider: openai, model: small, base_url: 'http://127.0.0.1:1'}]\n"
        "sla:\n  - {metric: availability, target: 0.9, scope: 'provider:open*'}\n"
        "  - {metric: availability, target: 0.9, scope: 'deployment:two'}\n"
        "budgets: [{scope: 'provider:gogle', period: day, limit_usd: 1}]\n"
    )
    status, _, err = run(capsys, "check", "--config", str(file))
    assert status == 0
    warned = err.splitlines()
    assert len(warned) == 3
    assert "the model small has tool, which no request needs" in warned[0]
    assert "sla.1.scope names the deployment two" in warned[1]
    assert "budgets.0.scope names the provider gogle" in warned[2]


@pytest.mark.parametrize(
    ("headers", "said"),
    [
        ("{'x org': a}", "'x org' is no name of a header"),
        ("{x-org: büro-secret}", "the value of x-org cannot be sent"),
        ('{x-org: "secret\\nx-other: b"}', "the value of x-org cannot be sent"),
    ],
)
def test_a_header_that_cannot_be_sent_is_named_and_its_value_is_not(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, headers: str, said: str
) -> None:
    (told,) = refused(capsys, tmp_path / "turnout.yaml", "http://127.0.0.1:1", f"headers: {headers}")
    assert f"turnout.yaml:5: catalog.deployments.0.headers: {said}" in told


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("api.example.com/v1", "it is no address"),
        ("ftp://api.example.com", "it is no address"),
        ("https://", "it is no address"),
        ("https://a:99999999/", "it is no address"),
        ("https://[::1/v1", "it is no address"),
        ("https://a b/v1", "it is no address"),
        ("https://me:secret@api.example.com/v1", "it holds a user or a password, which the log would keep"),
    ],
)
def test_an_address_that_cannot_be_called_is_named(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, url: str, said: str
) -> None:
    told = refused(capsys, tmp_path / "turnout.yaml", url, "proxy: ''", f"alerts: {{webhooks: [{{url: '{url}'}}]}}\n")
    assert [line.partition(": ")[2].split(";")[0] for line in told] == [
        f"catalog.deployments.0.base_url: {said}",
        f"alerts.webhooks.0.url: {said}",
    ]


def refused(capsys: pytest.CaptureFixture[str], file: Path, url: str, field: str, more: str = "") -> list[str]:
    """What `turnout check` says of a deployment at this address with one more field. It never shows a secret."""
    file.write_text(
        "catalog:\n  models: [{id: small}]\n  deployments:\n"
        f"  - {{id: one, provider: openai, model: small, base_url: '{url}',\n     {field}}}\n{more}",
        encoding="utf-8",
    )
    status, _, err = run(capsys, "check", "--config", str(file))
    assert status == 2
    assert "secret" not in err
    return err.splitlines()


def test_a_variable_that_is_no_json_is_named(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TURNOUT_ROUTING", "{strategy")
    status, _, err = run(capsys, "check")
    assert status == 2
    assert err.startswith('environment: error parsing value for field "routing"; write it as JSON, or ')

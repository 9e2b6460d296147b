"""The file and the environment: what wins, and how every wrong key is named."""

from pathlib import Path

import pytest

from infra.local import Ports, local_document
from schemas.errors import ConfigurationError
from streams.loading import load_settings, settings_file
from streams.settings import Settings


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "turnout.yaml"


def problems(file: Path, text: str) -> list[str]:
    file.write_text(text)
    with pytest.raises(ConfigurationError) as caught:
        load_settings(file)
    return list(caught.value.problems)


def test_defaults_need_no_file() -> None:
    settings = load_settings(None)
    assert settings.kafka.topic_prefix == "llm."
    assert settings.sql.url == "chdb:./data/sql"


@pytest.mark.parametrize(
    ("users", "sentence"),
    [
        ("[{name: a, password: secret, role: admin}]", "env:NAME or file:PATH"),
        ("[{name: a, password: 'env:A', role: root}]", "sql.users.0.role"),
        ("[{name: a, password: 'env:A'}, {name: a, password: 'env:B'}]", "holds a name twice"),
    ],
)
def test_users_of_sql_are_named_once_with_a_role_and_a_reference(file: Path, users: str, sentence: str) -> None:
    (problem,) = problems(file, f"sql: {{users: {users}}}\n")
    assert sentence in problem


def test_what_does_not_fit_together_is_no_configuration(file: Path) -> None:
    """For no command: what `turnout check` refuses must not be applied."""
    twice = "budgets:\n- {scope: global, limit_usd: 1}\n- {scope: global, limit_usd: 2}\n"
    bound = "with session_timeout_s it comes to 65, and rebalance_timeout_s is 60; raise that or lower them"
    assert problems(file, twice + "worker: {drain_s: 55}\n") == [
        f"{file}:3: budgets.1: it has the scope and period of an earlier one; remove one",
        f"{file}:4: worker.drain_s: {bound}",
    ]


def test_the_environment_wins(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file.write_text("kafka: {bootstrap_servers: 'a:1', partitions: 4}\n")
    monkeypatch.setenv("TURNOUT_KAFKA__BOOTSTRAP_SERVERS", "b:2")
    settings = load_settings(file)
    assert (settings.kafka.bootstrap_servers, settings.kafka.partitions) == ("b:2", 4)


def test_which_file_is_read(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(file.parent)
    monkeypatch.delenv("TURNOUT_CONFIG", raising=False)
    assert settings_file(None) is None
    file.write_text("")
    assert settings_file(None) == Path("turnout.yaml")
    monkeypatch.setenv("TURNOUT_CONFIG", "/elsewhere.yaml")
    assert settings_file(None) == Path("/elsewhere.yaml")
    assert settings_file(file) == file


def test_unknown_keys_are_named_with_their_lines(file: Path) -> None:
    found = problems(file, "kafka:\n  partitions: 8\n  prefx: x\nkafak: {}\n")
    assert {sentence.split(": ")[0] for sentence in found} == {f"{file}:3", f"{file}:4"}
    assert all("is not a key that Turnout knows" in sentence for sentence in found)


def test_wrong_values_are_named_with_their_lines(file: Path) -> None:
    found = problems(file, "catalog:\n  models:\n    - id: a\n    - id: b\n      tier: huge\n")
    assert len(found) == 1
    assert found[0].startswith(f"{file}:5: catalog.models.1.tier: ")


def test_what_has_another_shape_is_told_which_it_needs(file: Path) -> None:
    assert problems(file, "worker: [1]\nbudgets: 3\ncatalog:\n  models: [3]\n  deployments: {a: 1}\n") == [
        f"{file}:1: worker must hold keys with values; indent them below it",
        f"{file}:4: catalog.models.0 must hold keys with values; indent them below it",
        f"{file}:5: catalog.deployments must be a list; begin each of its items with `- `",
        f"{file}:2: budgets must be a list; begin each of its items with `- `",
    ]


def test_a_key_in_the_file_is_never_shown(file: Path) -> None:
    found = problems(
        file,
        "catalog:\n  models: [{id: a}]\n  deployments:\n    - id: d\n      provider: openai\n      model: a\n"
        "      base_url: http://x\n      api_key: sk-verysecret\n",
    )
    assert found[0].startswith(f"{file}:8: ")
    assert "sk-verysecret" not in "".join(found)


@pytest.mark.parametrize(("text", "line"), [("kafka: [\n", 2), ("a: b: c\n", 1), ("- 1\n", 1)])
def test_what_is_no_mapping_is_named(file: Path, text: str, line: int) -> None:
    assert problems(file, text)[0].startswith(f"{file}:{line}: ")


def test_the_applied_part_holds_no_connections(file: Path) -> None:
    file.write_text("kafka: {partitions: 4}\nrouting: {strategy: cost}\n")
    applied = load_settings(file).configuration.model_dump()
    assert applied["routing"]["strategy"] == "cost"
    assert "kafka" not in applied


def test_what_names_a_cluster_runs_on_one_machine_too(tmp_path: Path) -> None:
    """`turnout up` with the file of production: one embedded broker, which asks for nothing."""
    security = {"protocol": "SASL_SSL", "username": "turnout", "password": "env:KAFKA_PASSWORD"}
    base: dict[str, object] = {
        "kafka": {"bootstrap_servers": "broker-1:9093", "replication_factor": 3, "security": security, "partitions": 4}
    }
    document = local_document(base, tmp_path, Ports(9092, 8123, 6066, 0), simulate=False)
    kafka = Settings.model_validate(document).kafka
    assert (kafka.access.servers, kafka.replication_factor, kafka.partitions) == ("127.0.0.1:9092", 1, 4)
    assert kafka.access.authentication == {"security_protocol": "PLAINTEXT"}

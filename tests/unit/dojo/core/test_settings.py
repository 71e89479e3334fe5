"""A wrong variable stops the start with its name, and docs/settings.md agrees with the code."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from dojo.core.settings import VARIABLES, Settings, SettingsError, load_settings, markdown_table

DOCS = Path(__file__).parents[4] / "docs" / "settings.md"


@pytest.fixture(autouse=True)
def _no_settings_around(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in VARIABLES:
        monkeypatch.delenv(name, raising=False)


@pytest.mark.parametrize(
    ("name", "value", "reason"),
    [
        ("DOJO_REDIS_PORT", "many", "valid integer"),
        ("DOJO_GATEWAY_PORT", "80", "greater than or equal to 1024"),
        ("DOJO_SPEED", "0", "greater than 0"),
        ("DOJO_SPEED", "nan", "found 'nan'"),
        ("DOJO_REGISTRY_POLL_SECONDS", "inf", "finite"),
        ("DOJO_WORLD_SOURCE", "real", "'synthetic' or 'replay'"),
        ("DOJO_LOG_LEVEL", "loud", "'debug', 'info', 'warning' or 'error'"),
        ("DOJO_SYNTHETIC_FRAUD_RATE", "20%", "valid number"),
    ],
)
def test_a_wrong_value_is_refused_with_variable_reason_and_finding(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str, reason: str
) -> None:
    monkeypatch.setenv(name, value)
    with pytest.raises(SettingsError) as refused:
        load_settings()
    assert f"{name}: " in str(refused.value)
    assert reason in str(refused.value)
    assert f"found {value!r}" in str(refused.value)


def test_all_wrong_variables_are_named_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DOJO_SPEED", "-1")
    monkeypatch.setenv("DOJO_SEED", "x")
    monkeypatch.setenv("DOJO_SPED", "60")
    with pytest.raises(
        SettingsError, match=r"DOJO_SPED: no such setting; did you mean DOJO_SPEED\?"
    ) as refused:
        load_settings()
    assert "DOJO_SEED: " in str(refused.value)
    assert "DOJO_SPEED: " in str(refused.value)


def test_replay_without_a_file_says_how_to_get_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DOJO_WORLD_SOURCE", "replay")
    with pytest.raises(SettingsError, match="dojo data import"):
        load_settings()


def test_an_empty_variable_means_the_default(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in VARIABLES:
        monkeypatch.setenv(name, "")
    assert load_settings() == Settings()


def test_the_environment_decides_and_arguments_win(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DOJO_REDIS_PORT", "7000")
    assert load_settings().redis == "redis://127.0.0.1:7000/0"
    assert load_settings(redis_port=7001).redis == "redis://127.0.0.1:7001/0"
    assert load_settings(redis_online_port=7002).online_store == "redis://127.0.0.1:7002/0"
    monkeypatch.setenv("DOJO_REDIS_URL", "redis://elsewhere:6379/1")
    settings = load_settings()
    assert (settings.redis, settings.online_store) == (
        "redis://elsewhere:6379/1",
        "redis://elsewhere:6379/1",
    )


def test_every_setting_is_documented_with_its_default_and_meaning() -> None:
    assert markdown_table() in DOCS.read_text(), (
        "docs/settings.md is stale: paste the output of `python -m dojo.core.settings`"
    )


def test_the_docs_name_no_variable_that_does_not_exist() -> None:
    assert set(re.findall(r"\bDOJO_[A-Z_]+\b", DOCS.read_text())) <= VARIABLES


@pytest.mark.parametrize("field", Settings.model_fields)
def test_every_setting_gives_meaning_and_unit(field: str) -> None:
    description = Settings.model_fields[field].description or ""
    assert len(description) > 30
    assert description.endswith(".")
    if Settings.model_fields[field].annotation in (int, float) and not field.endswith("port"):
        assert re.search(
            r"second|millisecond|days|bytes|fraction|messages|MiB|customers|merchants|seed|dollars"
            r"|processes",
            description,
            re.IGNORECASE,
        ), f"{field}: no unit"


def test_a_renamed_setting_is_refused_with_its_new_name(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DOJO_RETRAINER_PORT", "8106")
    with pytest.raises(
        SettingsError, match="DOJO_RETRAINER_PORT: renamed, set DOJO_TRAINER_PORT instead"
    ):
        load_settings()

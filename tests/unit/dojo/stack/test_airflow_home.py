"""Airflow's home: secrets made once and readable only by their owner, and configuration."""

from __future__ import annotations

import configparser
import json
from dataclasses import replace
from pathlib import Path

import pytest
from sqlalchemy.engine import make_url

from dojo.core.airflow_access import airflow_access
from dojo.core.settings import Settings, SettingsError, load_settings
from dojo.stack.airflow_server.home import component_environment, prepare


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings(home=tmp_path / "ho%me [1] %20?#{x}ü", airflow_port=18080)


def test_secrets_are_private_and_survive_a_restart(settings: Settings) -> None:
    home = prepare(settings)
    private = {
        name: (home / name).read_text()
        for name in ("passwords.json", "secrets.json", "airflow.cfg")
    }
    assert {(home / name).stat().st_mode & 0o777 for name in private} == {0o600}
    assert home.stat().st_mode & 0o777 == 0o700
    prepare(settings)
    assert {name: (home / name).read_text() for name in private} == private
    assert set(home.iterdir()) == {home / name for name in private}


def test_two_homes_share_no_secret(settings: Settings, tmp_path: Path) -> None:
    one, other = (
        prepare(settings),
        prepare(settings.model_copy(update={"home": tmp_path / "other"})),
    )
    ours, theirs = (json.loads((home / "secrets.json").read_text()) for home in (one, other))
    assert not set(ours.values()) & set(theirs.values())
    assert (one / "passwords.json").read_text() != (other / "passwords.json").read_text()


def test_everything_of_airflow_is_below_its_home_and_on_its_one_port(settings: Settings) -> None:
    home = prepare(settings)
    configuration = configparser.ConfigParser()
    configuration.read(home / "airflow.cfg")
    assert "$" not in (home / "airflow.cfg").read_text()
    for section, option in (
        ("logging", "base_log_folder"),
        ("logging", "dag_processor_child_process_log_directory"),
        ("dag_processor", "dag_bundle_storage_path"),
        ("core", "simple_auth_manager_passwords_file"),
    ):
        assert str(home) in configuration.get(section, option), option
    assert configuration.get("logging", "file_task_handler_new_folder_permissions") == "0o700"
    assert configuration.get("logging", "file_task_handler_new_file_permissions") == "0o600"
    database = make_url(configuration.get("database", "sql_alchemy_conn")).database
    assert database == str(home / "airflow.db"), "as Airflow's library reads it"
    assert configuration.get("api", "port") == "18080"
    assert (
        configuration.get("core", "execution_api_server_url") == "http://127.0.0.1:18080/execution/"
    )


def test_another_airflows_variables_do_not_reach_ours(tmp_path: Path) -> None:
    shell = {
        "AIRFLOW__CORE__PARALLELISM": "64",
        "AIRFLOW_HOME": "/other",
        "_AIRFLOW_X": "1",
        "DOJO_SEED": "3",
        "PATH": "/bin",
    }
    assert component_environment(shell, tmp_path) == {
        "DOJO_SEED": "3",
        "PATH": "/bin",
        "AIRFLOW_HOME": str(tmp_path),
    }


def test_access_is_the_embedded_one_the_one_elsewhere_or_none(settings: Settings) -> None:
    before = airflow_access(settings)
    assert before is not None
    assert before.password == ""
    prepare(settings)
    after = airflow_access(settings)
    assert after is not None
    assert before.password == after.password, "a process that was ready first knows it too"
    assert (after.url, len(after.password)) == ("http://127.0.0.1:18080", 16)
    assert after.password not in repr(after)
    assert replace(after, given="guessed").password == "guessed"
    elsewhere = airflow_access(
        settings.model_copy(update={"airflow_url": "https://ada:p%40ss@flow:8080/af/"})
    )
    assert elsewhere is not None
    assert (elsewhere.url, elsewhere.user, elsewhere.password) == (
        "https://flow:8080/af",
        "ada",
        "p@ss",
    )
    assert airflow_access(settings.model_copy(update={"without": ("airflow",)})) is None


def test_only_what_is_optional_can_be_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DOJO_WITHOUT", "airflow")
    assert load_settings().without == ("airflow",)
    monkeypatch.setenv("DOJO_WITHOUT", "airflow, redis")
    with pytest.raises(SettingsError, match=r"DOJO_WITHOUT.*airflow"):
        load_settings()

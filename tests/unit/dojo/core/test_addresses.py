"""Addresses of the platform's servers: what settings may name, and that proxies are not used."""

from __future__ import annotations

import os
import urllib.request

import pytest

from dojo.core.settings import SettingsError, load_settings


@pytest.mark.parametrize("host", ["127.0.0.1", "127.0.0.2", "0.0.0.0", "192.168.1.20", "localhost"])
def test_addresses_that_servers_can_listen_on_are_taken(host: str) -> None:
    assert load_settings(host=host).host == host


@pytest.mark.parametrize(
    "host",
    [
        *("::1", "[::1]", "::", "fe80::1%eth0", "::ffff:127.0.0.1"),
        *(
            "127.1",
            "127.0.0.01",
            "2130706433",
            "0x7f.0.0.1",
            "999.1.1.1",
            "224.0.0.1",
            "255.255.255.255",
        ),
        *("127.0.0.1:8000", "http://127.0.0.1", "*", " ", "not a host", "shop.example.com"),
    ],
)
def test_a_host_that_not_every_server_can_listen_on_is_refused(
    host: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DOJO_HOST", host)
    with pytest.raises(
        SettingsError, match=r"DOJO_HOST: .*expected an IPv4 address of this machine"
    ) as refused:
        load_settings()
    assert f"found {host!r}" in str(refused.value)


def test_servers_that_listen_on_every_address_are_asked_at_loopback() -> None:
    settings = load_settings(host="0.0.0.0", redis_url="", mlflow_url="")
    asked = (settings.redis, settings.mlflow, settings.gateway_url)
    assert asked == ("redis://127.0.0.1:6390/0", "http://127.0.0.1:5001", "http://127.0.0.1:8000")


@pytest.mark.parametrize(
    ("field", "url"),
    [
        ("redis_url", "redis://::1:6390/0"),
        ("redis_url", "localhost:6390"),
        ("online_store_url", "http://127.0.0.1:6390"),
        ("mlflow_url", "http://[::1:5001"),
        ("mlflow_url", "127.0.0.1:5001"),
        ("airflow_url", "http://airflow:eighty"),
        ("airflow_url", "https://"),
    ],
)
def test_a_url_that_no_server_answers_at_is_refused(field: str, url: str) -> None:
    with pytest.raises(SettingsError, match=f"DOJO_{field.upper()}: .*expected .*://host:port"):
        load_settings(**{field: url})


def test_urls_with_ipv6_in_brackets_and_with_passwords_are_taken() -> None:
    settings = load_settings(
        redis_url="redis://:pass@[::1]:6379/0", airflow_url="http://me:p%40ss@airflow:8088/"
    )
    assert settings.redis_url == "redis://:pass@[::1]:6379/0"


def test_a_refused_url_does_not_show_its_password() -> None:
    with pytest.raises(SettingsError) as refused:
        load_settings(redis_url="redis://:sec/ret@redis:port/0")
    assert "sec/ret" not in str(refused.value)
    assert "redis://***@redis:port/0" in str(refused.value)


@pytest.mark.parametrize("before", ["", "example.com,[::1]", None])
def test_no_host_is_asked_through_a_proxy_once_settings_are_read(
    before: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("NO_PROXY", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
        if before is not None:
            monkeypatch.setenv(name, before)
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")
    load_settings()
    assert (os.environ["NO_PROXY"], os.environ["no_proxy"]) == ("*", "*")
    assert urllib.request.proxy_bypass("gateway")

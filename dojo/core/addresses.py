"""How the platform's servers are addressed.

It checks the hosts and URLs in settings, and keeps requests away from proxies.
"""

from __future__ import annotations

import re
from collections.abc import MutableMapping, Sequence
from ipaddress import IPv4Address
from urllib.parse import urlsplit

LOOPBACK = "127.0.0.1"
EVERY_ADDRESS = "0.0.0.0"


def require_bindable(host: str) -> str:
    """Raises ValueError when servers cannot listen there.

    IPv6 is refused, because Redis, MLflow, Airflow and Prometheus each want another notation.
    """
    try:
        usable = host == "localhost" or not (
            IPv4Address(host).is_multicast or IPv4Address(host).is_reserved
        )
    except ValueError:
        usable = False
    if not usable:
        raise ValueError(
            f"expected an IPv4 address of this machine, as in {LOOPBACK} or {EVERY_ADDRESS}, or"
            " localhost"
        )
    return host


def require_url(url: str, schemes: Sequence[str]) -> str:
    """Raises ValueError when no server can be asked there. Empty means the embedded server."""
    try:
        parts = urlsplit(url)
        usable = parts.scheme in schemes and bool(parts.hostname) and parts.port != 0
    except ValueError:  # brackets that do not close, or a port that is no number
        usable = False
    if url and not usable:
        forms = " or ".join(f"{scheme}://host:port" for scheme in schemes)
        raise ValueError(f"expected {forms}, an IPv6 host in brackets")
    return url


def without_password(value: object) -> object:
    """A setting's value as messages may show it. A URL can hold a password."""
    return re.sub(r"//.*@", "//***@", value) if isinstance(value, str) else value


def ask_directly(environment: MutableMapping[str, str]) -> None:
    """Keep every library from asking through a proxy (HTTP_PROXY), here and in child processes.

    `*` stands for all hosts: processes of the platform ask the platform's servers only.
    With a list of hosts, httpx would refuse to start with a proxy that it cannot use (SOCKS).
    """
    # Libraries differ in the spelling that they read first.
    environment.update(NO_PROXY="*", no_proxy="*")

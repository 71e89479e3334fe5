"""Under which names a browser reaches MLflow's page: a real server, asked as a browser asks."""

from __future__ import annotations

import http.client
import os
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from dojo.cli.compose import COMPOSE_FILE
from dojo.stack.servers import MLFLOW_ENVIRONMENT, mlflow_command
from tests.support.servers import Server, free_port, http_ok, wait_until

pytestmark = pytest.mark.integration

SCRIPT = Path(__file__).parents[4] / "deploy" / "docker" / "mlflow-server"
SEARCH = (  # what the page asks first: without an answer it stays empty
    "/ajax-api/2.0/mlflow/experiments/search"
)


def started(
    name: str, command: list[str], directory: Path, port: int, env: dict[str, str]
) -> Server:
    server = Server(name, command, directory, {**MLFLOW_ENVIRONMENT, **env})
    server.start()
    wait_until(
        lambda: http_ok(f"http://127.0.0.1:{port}/health"),
        240,
        f"MLflow is healthy; see {server.log}",
        every=0.2,
    )
    return server


@pytest.fixture(scope="module", params=["embedded", "container"])
def port(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    """MLflow as `dojo up` starts it, and as its container does.

    Both answer for shop.lan, *.dojo.lan and 192.168.7.20.
    """
    directory, port = tmp_path_factory.mktemp("mlflow"), free_port()
    if request.param == "embedded":
        command = mlflow_command(
            port, directory, "127.0.0.1", ("shop.lan", "*.dojo.lan", "192.168.7.20")
        )
        env = {}
    else:
        # As docker-compose.yml starts it. Only address, port and directories differ, which a
        # container has to itself.
        name, *arguments = yaml.safe_load(COMPOSE_FILE.read_text())["services"]["mlflow"]["command"]
        assert name == SCRIPT.name
        own = {
            "0.0.0.0": "127.0.0.1",
            "5001": str(port),
            "/data/artifacts": str(directory / "artifacts"),
        }
        command = [str(SCRIPT), *(own.get(argument, argument) for argument in arguments)]
        env = {
            "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
            "PUBLISH_ON": "192.168.7.20",
            "PUBLISH_AS": "shop.lan,*.dojo.lan",
            "MLFLOW_PORT": str(port),
            "MLFLOW_BACKEND_STORE_URI": f"sqlite:///{directory / 'mlflow.db'}",
        }
    server = started(request.param, command, directory, port, env)
    yield port
    server.stop()


def ask(port: int, host: str, scheme: str = "http", origin: str = "") -> tuple[int, int]:
    """The statuses of the page and of the request that the page then makes."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    connection.request("GET", "/", headers={"Host": host})
    page = connection.getresponse()
    page.read()
    headers = {
        "Host": host,
        "Origin": origin or f"{scheme}://{host}",
        "Content-Type": "application/json",
    }
    connection.request("POST", SEARCH, b'{"max_results": 1}', headers)
    answer = connection.getresponse()
    answer.read()
    connection.close()
    return page.status, answer.status


@pytest.mark.parametrize(
    "name", ["localhost", "127.0.0.1", "shop.lan", "mlflow.dojo.lan", "192.168.7.20"]
)
def test_the_page_and_what_it_asks_answer_under_each_name_that_is_set(port: int, name: str) -> None:
    assert ask(port, f"{name}:{port}") == (200, 200)


def test_a_name_without_a_port_is_one_behind_a_proxy(port: int) -> None:
    assert ask(port, "shop.lan", "https") == (200, 200)


@pytest.mark.parametrize(
    "name", ["elsewhere.example", "shop.lan.example", "192.168.7.21", "10.0.0.1"]
)
def test_any_other_name_is_refused(port: int, name: str) -> None:
    assert ask(port, f"{name}:{port}") == (403, 403)


def test_a_foreign_page_in_a_browser_may_not_write(port: int) -> None:
    assert ask(port, f"shop.lan:{port}", origin="http://elsewhere.example") == (200, 403)

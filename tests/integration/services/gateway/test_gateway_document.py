"""The OpenAPI document of a real gateway: valid, good for a client, and true to its answers."""

from __future__ import annotations

import json
import re
from pathlib import Path

import openapi_spec_validator
import pytest

from tests.integration.services.gateway.test_gateway_clients import COLUMNS, predicted
from tests.support.clients import environments
from tests.support.clients.environments import client_environment
from tests.support.gateways import TIME_KEY, GatewayServer

pytestmark = pytest.mark.integration

LEAST_CASES = 300
EXAMPLES = 12  # the most per operation and phase
SETTINGS = Path(environments.__file__).with_name("schemathesis.toml")


def test_a_client_is_generated_and_its_typed_calls_score_like_predict(
    shared_gateway: GatewayServer, tmp_path: Path
) -> None:
    """With a warning, the generator leaves an operation or a schema out."""
    document = shared_gateway.request("GET", "/openapi.json")[1]
    openapi_spec_validator.validate(document)
    (tmp_path / "settings.yaml").write_text("post_hooks: []\n")  # they would format the code
    (tmp_path / "openapi.json").write_text(json.dumps(document))
    generator = client_environment("openapi-python-client")
    files = ("--path", "openapi.json", "--config", "settings.yaml", "--output-path", "dojo_client")
    done = generator.run(
        "openapi-python-client",
        "generate",
        *files,
        "--meta=none",
        "--fail-on-warning",
        cwd=tmp_path,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    found = generator.call(
        "call_generated.py", shared_gateway.url, json.dumps(COLUMNS), PYTHONPATH=tmp_path
    )
    assert found["predict"] == found["infer"] == predicted(shared_gateway)["score"]
    assert found["refused"] == ["instances"]


def test_schemathesis_finds_no_server_error_and_no_undocumented_answer(
    shared_gateway: GatewayServer, tmp_path: Path
) -> None:
    """Every check, with the time key: other callers may not send the times that it makes up.

    The longer run, by hand:

        .tools/clients/schemathesis/bin/st --config-file tests/support/clients/schemathesis.toml
            run http://127.0.0.1:8000/openapi.json --max-examples 1000 --seed 1
            --header "Authorization: Bearer $DOJO_TIME_KEY"
    """
    done = client_environment("schemathesis").run(
        "st",
        "--config-file",
        SETTINGS,
        "run",
        f"{shared_gateway.url}/openapi.json",
        "--generation-deterministic",
        f"--max-examples={EXAMPLES}",
        "--continue-on-failure",
        "--no-color",
        "--header",
        f"Authorization: Bearer {TIME_KEY}",
        cwd=tmp_path,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    cases = re.search(r"(\d+) generated, (\d+) passed", done.stdout)
    assert cases is not None, done.stdout
    assert int(cases[1]) == int(cases[2]) >= LEAST_CASES

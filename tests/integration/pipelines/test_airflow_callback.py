"""A failed run is reported although Redis was away, perhaps the cause of the failure.

The DAG's own callback runs in its own process.
"""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest
from redis import Redis

from dojo.core.state.audit import AuditTrail
from dojo.core.state.dag_failures import DagFailures
from dojo.core.state.inbox import Inbox
from pipelines.dags.failure_notes import failure_note
from tests.support.servers import RedisServer

pytestmark = pytest.mark.integration

DAG, RUN = "materialize_features", "by-hand"
REFUSAL = "materialize: the lake is empty"
CALL = f"""
from airflow.dag_processing.dagbag import DagBag
from dojo.stack.airflow_server.home import DAGS_FOLDER
dag = DagBag(str(DAGS_FOLDER / "features.py")).dags["{DAG}"]
dag.on_failure_callback({{"dag": dag, "run_id": "{RUN}"}})
"""


def test_a_failed_run_is_told_once_redis_is_back(tmp_path: Path) -> None:
    note = failure_note(tmp_path / "home", DAG, RUN)
    note.parent.mkdir(parents=True)
    note.write_text(REFUSAL)
    with socket.create_server(("127.0.0.1", 0)) as away:
        port = away.getsockname()[1]
        environment = {
            **{
                name: value
                for name, value in os.environ.items()
                if not name.startswith(("DOJO_", "AIRFLOW"))
            },
            "DOJO_HOME": str(tmp_path / "home"),
            "DOJO_REDIS_URL": f"redis://127.0.0.1:{port}/0",
            "AIRFLOW_HOME": str(tmp_path / "airflow"),
            "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
        }
        callback = subprocess.Popen(
            [sys.executable, "-c", CALL], env=environment, stderr=subprocess.PIPE, text=True
        )
        away.settimeout(60)
        away.accept()[0].close()  # its first try meets no Redis
    redis_server = RedisServer(tmp_path, port)
    redis_server.start()
    try:
        _, said = callback.communicate(timeout=60)
        assert callback.returncode == 0, said
        redis = Redis.from_url(redis_server.url)
        (page,) = Inbox(redis).newest(10)
        assert (page.urgency, page.to, page.title) == (
            "page",
            "ml-platform",
            f"{DAG} failed; features stay as they were",
        )
        assert page.text.startswith(REFUSAL)
        assert [entry.why for entry in AuditTrail(redis).entries()] == [REFUSAL]
        assert DagFailures(redis).count(DAG) == 1, "counted once, however often it was tried"
    finally:
        callback.kill()
        redis_server.stop()

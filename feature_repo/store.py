"""Opens Feast on the Parquet offline store (read with DuckDB) and the Redis online store.

The import is cheap. `open_store` imports Feast, which takes seconds, so call it once in a process.
"""

from __future__ import annotations

import hashlib
import inspect
import logging
import os
import sys
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any

from feature_repo import catalog

if TYPE_CHECKING:
    from feast import FeatureStore

PROJECT = "dojo"

# With these variables, the metrics library keeps a process's metrics in files. Feast sets both.
METRICS_IN_FILES = ("PROMETHEUS_MULTIPROC_DIR", "PROMETHEUS_MULTIPROCESS_DIR")


def import_feast() -> None:
    """Import Feast, and keep what it does to the process away.

    - Typeguard would add checks of argument types to Feast's classes. It parses Feast's sources at
      every import, which takes 2.7 s of a core. Python keeps its bytecode, but not the result of
      this.
    - Feast has the metrics library keep all metrics in files, in this process and in its children.
    """
    if "feast" in sys.modules:
        return
    import prometheus_client  # noqa: F401 - the library reads them when it is imported
    import typeguard

    checked, unset = typeguard.typechecked, [n for n in METRICS_IN_FILES if n not in os.environ]
    typeguard.typechecked = _unchecked
    try:
        import feast  # noqa: F401
    finally:
        typeguard.typechecked = checked
        for name in unset:
            os.environ.pop(name, None)


def _unchecked(target: Any = None, **_: Any) -> Any:
    """Stand in for `typeguard.typechecked`: return what is decorated as it is."""
    return _unchecked if target is None else target


def open_store(offline_dir: Path, online_url: str, registry_file: Path) -> FeatureStore:
    """Return Feast with every definition of the catalogue applied.

    Definitions are applied again only when they changed, because that is slow.

    Args:
        offline_dir: The directory that `build_offline` writes.
        online_url: `redis://[user:password@]host:port[/db]`. The first read or write connects to
            it.
        registry_file: Feast's own record of the definitions, one per process. Feast rewrites the
            file whole, so two writers would lose each other's changes.
    """
    import_feast()
    from feast import FeatureStore, RepoConfig

    from feature_repo import definitions

    logging.getLogger("feast").setLevel(logging.WARNING)  # at info it logs every registry read
    registry_file.parent.mkdir(parents=True, exist_ok=True)
    store = FeatureStore(
        config=RepoConfig(
            project=PROJECT,
            provider="local",
            registry={
                "registry_type": "file",
                "path": str(registry_file.resolve()),
                "cache_ttl_seconds": 0,
            },
            offline_store={"type": "feature_repo.asof_store.AsofDuckDBOfflineStore"},
            online_store={
                "type": "feature_repo.online_store.EntityHashOnlineStore",
                "url": online_url,
            },
            entity_key_serialization_version=3,
        )
    )
    wanted = hashlib.sha256(
        f"{catalog.definition_hash()} {inspect.getsource(definitions)}"
        f" {offline_dir.resolve()}".encode()
    ).hexdigest()
    applied = registry_file.with_suffix(".applied")
    if not (registry_file.exists() and applied.exists() and applied.read_text() == wanted):
        registry_file.unlink(missing_ok=True)  # removed definitions must not stay
        with warnings.catch_warnings():
            # "experimental, does not scale offline". Our training set computes these features
            # outside Feast's pandas step anyway.
            warnings.filterwarnings("ignore", "On demand feature view", RuntimeWarning)
            store.apply(definitions.build_definitions(offline_dir))
        applied.write_text(wanted)
    return store

"""Places in a drill's texts: `{online_store}` and its like become addresses of this stack."""

from __future__ import annotations

from urllib.parse import urlsplit, urlunsplit

from dojo.core.settings import Settings

# A program beside the stack listens so far above the online store's port.
SIDE_PORT = 400


def filled(text: str, settings: Settings) -> str:
    """Return a text with the addresses in it.

    `{online_store}`, `{redis}` and `{gateway}` are URLs. `{side_port}` is a free port of the drill,
    and `{side_store}` is the online store's URL with that port. `{registry}` is the embedded
    registry's file.

    Raises:
        KeyError: Another name stands in braces.
    """
    store = urlsplit(settings.online_store)
    port = (store.port or 0) + SIDE_PORT
    host = store.netloc.rpartition(":")[0] or store.netloc
    return text.format(
        online_store=settings.online_store,
        redis=settings.redis,
        gateway=settings.url_of("gateway"),
        side_port=port,
        side_store=urlunsplit(store._replace(netloc=f"{host}:{port}")),
        registry=settings.home.resolve() / "mlflow" / "mlflow.db",
    )

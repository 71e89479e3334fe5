"""The alert receiver: where Alertmanager's messages arrive, and `dojo alerts` reads them."""

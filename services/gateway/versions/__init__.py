"""Which versions are loaded: from the registry or the cache, verified and warm."""

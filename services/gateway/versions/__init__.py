"""The loaded versions: from the registry or the cache, verified and warm."""

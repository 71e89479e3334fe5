"""The materializer: keeps the online store as fresh as the world's midnights, and measures skew."""

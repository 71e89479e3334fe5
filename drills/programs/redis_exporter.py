"""Export figures of a Redis, each over a connection of its own.

python redis_exporter.py redis://ADDRESS
"""

import sys
import time

import redis


def main() -> None:
    """Ask for one figure after the other, and keep every connection."""
    kept = []
    while True:
        client = redis.Redis.from_url(
            sys.argv[1], client_name="redis-exporter", single_connection_client=True
        )
        try:
            client.info("clients")
            kept.append(client)
        except redis.RedisError:
            client.close()
        time.sleep(0.2)


if __name__ == "__main__":
    main()

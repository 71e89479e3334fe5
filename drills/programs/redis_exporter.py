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
        try:
            client = redis.Redis.from_url(
                sys.argv[1], client_name="redis-exporter", single_connection_client=True
            )
            client.info("clients")
            kept.append(client)
        except redis.RedisError:
            pass  # the next figure may have more luck
        time.sleep(0.2)


if __name__ == "__main__":
    main()

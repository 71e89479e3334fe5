# Like docker.io/redis: user 999, /data, and any command.
FROM mlops-dojo/debian-stand-in
RUN groupadd --system --gid 999 redis && useradd --system --uid 999 --gid 999 redis \
    && apt-get update && apt-get install --yes --no-install-recommends redis-server \
    && rm -rf /var/lib/apt/lists/* \
    && install --directory --owner 999 --group 999 /data
VOLUME /data
CMD ["redis-server"]

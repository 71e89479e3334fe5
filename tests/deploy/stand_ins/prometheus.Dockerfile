# Like docker.io/prom/prometheus: user 65534, the server as entry point, wget for the health check.
FROM mlops-dojo/debian-stand-in
RUN apt-get update && apt-get install --yes --no-install-recommends prometheus wget \
    && rm -rf /var/lib/apt/lists/* \
    && install --directory --owner 65534 /prometheus
USER 65534
ENTRYPOINT ["/bin/prometheus"]

# Like docker.io/prom/alertmanager. Debian's name of the program differs.
FROM mlops-dojo/debian-stand-in
RUN apt-get update \
    && apt-get install --yes --no-install-recommends prometheus-alertmanager wget \
    && rm -rf /var/lib/apt/lists/* \
    && install --directory --owner 65534 /alertmanager \
    && ln -s /usr/bin/prometheus-alertmanager /usr/bin/alertmanager
USER 65534
ENTRYPOINT ["/bin/alertmanager"]

# Debian's Python replaces docker.io/python: the same minor version, with venv and pip.
FROM mlops-dojo/debian-stand-in
RUN apt-get update \
    && apt-get install --yes --no-install-recommends python3-venv python3-pip ca-certificates \
    && rm -rf /var/lib/apt/lists/*

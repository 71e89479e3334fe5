# Debian's Python in the place of docker.io/python: the same major version, with venv and pip as there.
FROM mlops-dojo/debian-stand-in
RUN apt-get update \
    && apt-get install --yes --no-install-recommends python3-venv python3-pip ca-certificates \
    && rm -rf /var/lib/apt/lists/*

# Like docker.io/postgres: user 999, PGDATA, POSTGRES_PASSWORD, /docker-entrypoint-initdb.d, and a
# socket directory open to all users.
FROM mlops-dojo/debian-stand-in
RUN groupadd --system --gid 999 postgres \
    && useradd --system --uid 999 --gid 999 --home-dir /var/lib/postgresql postgres \
    && apt-get update && apt-get install --yes --no-install-recommends postgresql \
    && rm -rf /var/lib/apt/lists/* \
    && install --directory --owner 999 --group 999 \
        /var/lib/postgresql/data /docker-entrypoint-initdb.d \
    && install --directory --mode 3777 /var/run/postgresql
ENV PATH=/usr/lib/postgresql/15/bin:$PATH
COPY postgres-entrypoint /usr/local/bin/docker-entrypoint.sh
ENTRYPOINT ["docker-entrypoint.sh"]
CMD ["postgres"]

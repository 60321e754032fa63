# docker build --tag autorouter .
# docs/running.md says how to run this image, how to pin it, and how to list its packages.
ARG BASE=python:3.11.14-slim-bookworm@sha256:65a93d69fa75478d554f4ad27c85c1e69fa184956261b4301ebaf6dbb0a3543d

FROM ${BASE} AS build
ENV PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1
WORKDIR /src

# LOCK=cloudfront adds boto3, which purging CloudFront needs.
ARG LOCK=run
COPY requirements/ requirements/
RUN python -m venv /opt/autorouter
RUN /opt/autorouter/bin/pip install --no-deps --require-hashes --requirement requirements/${LOCK}.lock
RUN /opt/autorouter/bin/pip install --no-deps --require-hashes --requirement requirements/geodata.lock

RUN python -m venv /opt/build
RUN /opt/build/bin/pip install --no-deps --require-hashes --requirement requirements/build.lock
COPY LICENSE README.md pyproject.toml regions.yaml ./
COPY geodata/ geodata/
COPY router/ router/
RUN /opt/build/bin/pip wheel --no-deps --no-index --no-build-isolation --wheel-dir /opt/wheels .
RUN /opt/autorouter/bin/pip install --no-deps --no-index /opt/wheels/*.whl
RUN AUTOROUTER_REGIONS=regions.yaml /opt/autorouter/bin/autorouter check
RUN /opt/autorouter/bin/pip uninstall --yes setuptools pip

FROM ${BASE}
ARG REVISION=unknown
LABEL org.opencontainers.image.title="autorouter" \
      org.opencontainers.image.description="Tells every SDK which inference edge is nearest and healthy" \
      org.opencontainers.image.licenses="MIT" \
      org.opencontainers.image.version="1.0.0" \
      org.opencontainers.image.revision="${REVISION}"

# Events show this user name as the actor of commands. The home folder is for the last good health.
RUN useradd --uid 10001 --user-group --shell /usr/sbin/nologin \
    --create-home --home-dir /var/lib/autorouter --skel /dev/null autorouter
COPY --from=build /opt/autorouter /opt/autorouter
# The default fleet. To change it, mount another file over it, or set AUTOROUTER_REGIONS.
COPY --from=build /src/regions.yaml /etc/autorouter/regions.yaml
ENV AUTOROUTER_REGIONS=/etc/autorouter/regions.yaml
ENV PATH=/opt/autorouter/bin:$PATH PYTHONDONTWRITEBYTECODE=1 PYTHONUNBUFFERED=1
USER 10001:10001
WORKDIR /

EXPOSE 8080 9090
# Checks that the process answers: on AUTOROUTER_POLL_LISTEN if it is set, else on AUTOROUTER_LISTEN.
HEALTHCHECK --interval=10s --timeout=3s --start-period=30s \
    CMD ["python", "-c", "import os, urllib.request as r; listen = os.environ.get('AUTOROUTER_POLL_LISTEN') or os.environ.get('AUTOROUTER_LISTEN', ':8080'); r.urlopen('http://127.0.0.1:%s/healthz' % listen.rpartition(':')[2], timeout=2)"]
ENTRYPOINT ["autorouter"]
CMD ["serve"]

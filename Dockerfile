# syntax=docker/dockerfile:1
# The image of genrelay: one for every role. `docker build -t genrelay .`, then for example
#   docker run --env-file genrelay.env genrelay migrate
#   docker run --env-file genrelay.env -p 8080:8080 genrelay serve --role api
#
# To pin the base for good give its digest, which `docker buildx imagetools inspect python:3.11-slim` prints:
#   docker build --build-arg PYTHON=python:3.11-slim@sha256:... -t genrelay .
ARG PYTHON=python:3.11-slim

# --- Everything that is needed to build, none of which is in the image.
FROM ${PYTHON} AS build

ENV PIP_DISABLE_PIP_VERSION_CHECK=1 \
    PIP_NO_CACHE_DIR=1 \
    PIP_ROOT_USER_ACTION=ignore
WORKDIR /src

# The build tool is pinned like everything else, and has an environment of its own.
COPY requirements/build.txt requirements/build.txt
RUN python -m venv /build && /build/bin/pip install --require-hashes --only-binary :all: -r requirements/build.txt

# No pip in the image: another Python's installs into it. These change seldom, so they are a layer of their own.
COPY requirements/image.txt requirements/image.txt
RUN python -m venv --without-pip /opt/genrelay \
    && /build/bin/pip --python /opt/genrelay/bin/python install --require-hashes --only-binary :all: -r requirements/image.txt

COPY pyproject.toml README.md ./
COPY config config
COPY handlers handlers
COPY service service
# Compiled here, because the image's file system may be read-only.
RUN /build/bin/pip wheel --no-deps --no-build-isolation --wheel-dir /dist . \
    && /build/bin/pip --python /opt/genrelay/bin/python install --no-deps --no-index /dist/*.whl \
    && /opt/genrelay/bin/python -m compileall -q /opt/genrelay/lib

# --- What is shipped: Python, the environment, a user.
FROM ${PYTHON} AS image

ARG VERSION=0.2.0
ARG REVISION=unknown
LABEL org.opencontainers.image.title="genrelay" \
      org.opencontainers.image.description="Submits image-generation jobs, verifies the callbacks, and lands the outputs in your customers' own buckets." \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}"

# The base's own installers go: nothing is installed any more. A home in /tmp, because a user needs one and the root may be read-only.
RUN python -m pip uninstall --yes --quiet --root-user-action ignore pip setuptools wheel \
    && groupadd --gid 10001 genrelay \
    && useradd --uid 10001 --gid 10001 --no-create-home --home-dir /tmp --shell /usr/sbin/nologin genrelay

COPY --from=build /opt/genrelay /opt/genrelay

ENV PATH=/opt/genrelay/bin:$PATH \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1 \
    GENRELAY_HOST=0.0.0.0 \
    GENRELAY_PORT=8080 \
    GENRELAY_LOG_FORMAT=json

# By number, so that Kubernetes can see that it is not root.
USER 10001:10001
WORKDIR /tmp
EXPOSE 8080
STOPSIGNAL SIGTERM

# For whoever runs it without Kubernetes, which has probes of its own and ignores this.
HEALTHCHECK --interval=15s --timeout=5s --start-period=30s --retries=3 \
    CMD ["python", "-c", "import os, urllib.request; urllib.request.urlopen(f\"http://127.0.0.1:{os.environ['GENRELAY_PORT']}/livez\", timeout=4)"]

ENTRYPOINT ["genrelay"]
CMD ["serve"]

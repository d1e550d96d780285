# The server alone: no torch, no compiler, no root. Models are mounted, metrics and health are on 8002:
#
#   docker build -t headrace .
#   docker run -p 8001:8001 -p 8002:8002 -v "$PWD/models:/models:ro" headrace
#
# For NVIDIA GPUs `--build-arg EXTRAS=cuda` adds the libraries of CUDA 13 and cuDNN 9 that ONNX Runtime asks for; the
# driver comes from the host (`docker run --gpus all`). No run on a GPU has been made yet. Where something is missing the
# server uses the CPU; told `serve --device cuda`, it says what is missing and stops.

# Both stages have the same base: the environment moves from one to the other with links into its interpreter.
ARG BASE=python:3.11-slim

FROM ${BASE} AS build
ARG EXTRAS=""
WORKDIR /src
COPY pyproject.toml constraints.txt README.md ./
COPY headrace headrace
COPY server server
COPY training training
COPY export export
COPY protos protos
COPY bench bench
RUN --mount=type=cache,target=/root/.cache/pip \
    python -m pip wheel --no-deps --wheel-dir /src/dist .
# Without a pip of its own, the environment that serves cannot be added to.
RUN python -m venv --without-pip /opt/headrace
RUN --mount=type=cache,target=/root/.cache/pip \
    python -m pip --python /opt/headrace install --constraint constraints.txt \
        "$(echo /src/dist/headrace-*.whl)${EXTRAS:+[${EXTRAS}]}"

FROM ${BASE}
# HTTP/2 for the server; without it gRPC's own server is used, which costs more.
RUN apt-get update \
 && apt-get install --yes --no-install-recommends libnghttp2-14 \
 && rm -rf /var/lib/apt/lists/*
# Kubernetes can tell from a number, but not from a name, that this is not root.
RUN groupadd --gid 10001 headrace \
 && useradd --uid 10001 --gid headrace --no-create-home --shell /usr/sbin/nologin headrace
COPY --from=build /opt/headrace /opt/headrace
ENV PATH=/opt/headrace/bin:$PATH \
    PYTHONUNBUFFERED=1
USER 10001:10001
EXPOSE 8001 8002
STOPSIGNAL SIGTERM
# There is no curl here. A proxy set for the container must not be asked for 127.0.0.1, so not urllib either.
HEALTHCHECK --interval=10s --timeout=5s --start-period=60s --retries=3 CMD ["python", "-c", \
    "from http.client import HTTPConnection as C; c = C('127.0.0.1', 8002, timeout=3); c.request('GET', '/healthz'); exit(c.getresponse().status != 200)"]
ENTRYPOINT ["headrace"]
CMD ["serve", "--host", "0.0.0.0", "--models", "/models"]

# A CPU node: the locked environment, aisle as a wheel, the entry points beside it.
#   docker build -f infra/docker/cpu.Dockerfile -t aisle:cpu .
FROM python:3.11-slim-bookworm AS wheel
WORKDIR /src
RUN pip install --no-cache-dir "hatchling==1.33.0"
COPY pyproject.toml README.md LICENSE ./
COPY platform platform
RUN pip wheel --no-deps --no-build-isolation --wheel-dir /wheels .

FROM python:3.11-slim-bookworm
# OpenMP for LightGBM and FAISS; NUMA for vLLM's CPU build.
RUN apt-get update \
    && apt-get install --yes --no-install-recommends libgomp1 libnuma1 \
    && rm -rf /var/lib/apt/lists/*
COPY requirements.lock /tmp/
# The same two steps as `make setup`: torch's CPU build, then the rest without resolving.
RUN pip install --no-cache-dir --no-deps --extra-index-url https://download.pytorch.org/whl/cpu \
        "$(grep '^torch==' /tmp/requirements.lock)" \
    && pip install --no-cache-dir --no-deps -r /tmp/requirements.lock
COPY --from=wheel /wheels /wheels
RUN pip install --no-cache-dir --no-deps /wheels/*.whl
# The number is what Kubernetes compares when it forbids root.
RUN useradd --create-home --uid 1000 aisle
USER aisle
WORKDIR /home/aisle/app
COPY --chown=aisle jobs jobs
COPY --chown=aisle deployments deployments
COPY --chown=aisle configs configs
CMD ["ray", "start", "--head", "--block", "--disable-usage-stats", "--dashboard-host=0.0.0.0"]

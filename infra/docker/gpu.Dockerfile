# A GPU node: resolved at build time, because requirements.lock is the CPU set. The driver is the host's; CUDA comes
# with the packages.
#   docker build -f infra/docker/gpu.Dockerfile -t aisle:gpu .
FROM python:3.11-slim-bookworm AS wheel
WORKDIR /src
RUN pip install --no-cache-dir "hatchling==1.33.0"
COPY pyproject.toml README.md LICENSE ./
COPY platform platform
RUN pip wheel --no-deps --no-build-isolation --wheel-dir /wheels .

FROM python:3.11-slim-bookworm
# A compiler: vLLM and triton build small kernels' launchers at first use.
RUN apt-get update \
    && apt-get install --yes --no-install-recommends gcc g++ libgomp1 libnuma1 \
    && rm -rf /var/lib/apt/lists/*
COPY --from=wheel /wheels /wheels
RUN pip install --no-cache-dir "$(ls /wheels/*.whl)[serve,models,rewrite-gpu,train,s3]"
# faiss-cpu and faiss-gpu install the same module, and so do the two ONNX Runtimes: the CPU ones go first.
RUN pip uninstall --yes faiss-cpu onnxruntime \
    && pip install --no-cache-dir "faiss-gpu>=1.15" "onnxruntime-gpu>=1.22"
# The number is what Kubernetes compares when it forbids root.
RUN useradd --create-home --uid 1000 aisle
USER aisle
WORKDIR /home/aisle/app
COPY --chown=aisle jobs jobs
COPY --chown=aisle deployments deployments
COPY --chown=aisle configs configs
CMD ["ray", "start", "--head", "--block", "--disable-usage-stats", "--dashboard-host=0.0.0.0"]

# The same targets for a person and for CI. Needs GNU make and Python 3.11 (3.12 also runs) with pip; nothing is compiled.
.DEFAULT_GOAL := help
.PHONY: help setup check test unit cluster demo bench swap kills night-cost tenfold soak models relevance segmenter lock clean

VENV := .venv
PY := $(VENV)/bin/python
STAMP := $(VENV)/.aisle-setup
LOCK := requirements.lock
# The CPU build of torch has a version that only PyTorch's own index carries in public.
TORCH_INDEX := https://download.pytorch.org/whl/cpu

# One thread a library: tests run processes beside each other, and pools that fight for the cores make times jump.
THREADS := OMP_NUM_THREADS=1 OPENBLAS_NUM_THREADS=1 MKL_NUM_THREADS=1 NUMBA_NUM_THREADS=1 TOKENIZERS_PARALLELISM=false

# make test MARKERS=""  runs the gpu tests too;  make test ARGS="tests/unit -x"  passes anything on to pytest.
MARKERS := not gpu
ARGS :=

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "make %-10s %s\n", $$1, $$2 }' Makefile

# --no-compile and one parallel pass: half the time of pip's own, and processes that may not write byte code (vLLM has
# three) would otherwise each compile torch, ray and transformers again at every start.
setup: ## make .venv with the locked packages (about 4 GB); under a second when it is up to date
	@set -eu; \
	want=$$(cat $(LOCK) pyproject.toml | cksum); \
	if [ -x $(PY) ] && [ "$$(cat $(STAMP) 2>/dev/null)" = "$$want" ]; then exit 0; fi; \
	if command -v flock >/dev/null 2>&1; then \
	  exec 9>$(VENV).lock; \
	  flock -n 9 || { echo "setup: another make setup is at work here; waiting for it"; flock 9; }; \
	  if [ "$$(cat $(STAMP) 2>/dev/null)" = "$$want" ]; then exit 0; fi; \
	fi; \
	if [ -e $(VENV)/.incomplete ]; then echo "setup: an earlier one was cut short; starting over"; rm -rf $(VENV); fi; \
	if [ ! -x $(PY) ]; then \
	  for python in $${PYTHON:-python3.11 python3 python3.12}; do \
	    if "$$python" -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] < (3, 13))' >/dev/null 2>&1; then break; fi; \
	    python=; \
	  done; \
	  if [ -z "$$python" ]; then \
	    echo "setup: no Python 3.11 or 3.12 found; install one, or name it: make setup PYTHON=/path/to/python3.11" >&2; exit 1; \
	  fi; \
	  echo "setup 1/5: $(VENV) from $$("$$python" --version)"; \
	  "$$python" -m venv $(VENV) || { rm -rf $(VENV); \
	    echo "setup: this Python cannot make a venv; on Debian and Ubuntu install python3.11-venv" >&2; exit 1; }; \
	  touch $(VENV)/.incomplete; \
	fi; \
	pip="$(PY) -m pip --disable-pip-version-check install --no-deps --no-compile"; \
	torch=$$(grep '^torch==' $(LOCK)); \
	echo "setup 2/5: $$torch"; \
	$$pip "$$torch" || $$pip --extra-index-url $(TORCH_INDEX) "$$torch"; \
	echo "setup 3/5: $$(grep -c '^[A-Za-z]' $(LOCK)) packages of $(LOCK)"; \
	$$pip -r $(LOCK); \
	echo "setup 4/5: byte code, on all cores"; \
	$(PY) -m compileall -q -j 0 -x '/(tests?|testing|rllib|examples|moto|cfnlint|fontTools)/' $(VENV)/lib >/dev/null || true; \
	echo "setup 5/5: aisle itself, editable"; \
	$$pip --quiet --no-build-isolation -e .; \
	rm -f $(VENV)/.incomplete; echo "$$want" > $(STAMP); \
	echo "setup: done, $(VENV) is ready"

check: setup ## format, lint, types, layout: seconds to a minute
	$(PY) -m ruff format --check .
	$(PY) -m ruff check .
	$(PY) -m mypy
	$(PY) -m pytest -q tests/test_layout.py

test: setup ## every test but gpu: unit, store, serve, cluster, slow (AISLE_DATA names the real data sets)
	$(THREADS) $(PY) -m pytest -m "$(MARKERS)" --durations=25 $(ARGS)

unit: setup ## the fast tests only
	$(THREADS) $(PY) -m pytest -q $(ARGS)

cluster: setup ## the tests that start a Ray cluster
	$(THREADS) $(PY) -m pytest -m cluster --durations=10 $(ARGS)

demo: setup ## sample catalogue -> reindex -> serve -> five queries, then serves until Ctrl-C (ONCE=1: stop after them)
	$(PY) -m jobs.demo $(if $(filter-out 0,$(ONCE)),--once)

# The comparison of jobs.bench. LanceDB lies in a folder of its own, so that nothing else can come to lean on it; what it
# needs beside these four is in the lock file already.
LANCEDB := $(VENV)/lancedb
CONFIG := configs/local.yaml

bench: setup ## compare with the floor, plain Serve, FastAPI, LanceDB: make bench CONFIG=configs/benchmarks/homedepot.yaml
	@[ -d $(LANCEDB)/lancedb ] || $(PY) -m pip --disable-pip-version-check install --quiet --no-deps --target $(LANCEDB) \
	  lancedb==0.40.0 lance-namespace==0.13.0 lance-namespace-urllib3-client==0.13.0 deprecation==2.1.0 overrides==7.7.0
	$(PY) -m jobs.reindex --config $(CONFIG)
	$(THREADS) PYTHONPATH=$(LANCEDB) $(PY) -m jobs.bench --config $(CONFIG) --compare $(ARGS)

swap: setup ## publish and roll back five times under load in both topologies; a table, last line one JSON
	$(THREADS) $(PY) -m jobs.swap $(ARGS)

kills: setup ## kill the nightly run inside every step: driver, worker, head node; a table, last line one JSON
	$(THREADS) $(PY) -m jobs.kills $(ARGS)

night-cost: setup ## a night with 1 % changed against a full build, 50,000 Home Depot products (AISLE_DATA); up to half an hour
	$(THREADS) $(PY) -m jobs.night_cost $(ARGS)

tenfold: setup ## ten times the catalogue beside itself (CONFIG, published once before): indexing, answers; ten minutes
	$(THREADS) $(PY) -m jobs.tenfold --config $(CONFIG) $(ARGS)

soak: setup ## a published CONFIG under load for 20 minutes: memory of every replica
	$(THREADS) $(PY) -m jobs.soak --config $(CONFIG) $(ARGS)

models: setup ## train again what ships in platform/aisle/models, from the sample catalogue (about an hour)
	$(PY) -c "from aisle.catalog.sample import write_sample; write_sample('.aisle/local/catalogue')"
	$(PY) -m jobs.train_rewriter --config configs/local.yaml --words sample --out platform/aisle/models/rewriter --minutes 45
	$(PY) -m jobs.reindex --config configs/local.yaml --set ranker.model=fused --set relevance.model=cosine
	$(PY) -m jobs.train_ranker --config configs/local.yaml --out platform/aisle/models/ranker
	$(PY) -m jobs.train_relevance --config configs/local.yaml --ranker platform/aisle/models/ranker \
	  --out platform/aisle/models/relevance

segmenter: setup ## train the query segmenter on QueryNER's queries (AISLE_DATA): entity F1, 5 minutes of one core
	$(PY) -m jobs.train_segmenter --config configs/local.yaml \
	  --queries "$${AISLE_DATA:?names the folder of data sets}/queryner/queryner.parquet" --out .aisle/models/segmenter

relevance: setup ## every model and table of the benchmark sets, from AISLE_DATA; hours on 2 cores (SETS=icecat: one set)
	@test -n "$(AISLE_DATA)" || { echo "relevance: set AISLE_DATA to the folder of the data sets" >&2; exit 1; }
	@set -e; for set in $(SETS); do \
	  case $$set in homedepot) minutes=12;; *) minutes=4;; esac; \
	  $(PY) -m jobs.relevance --config configs/benchmarks/$$set.yaml --encoder-minutes $$minutes $(ARGS); \
	done
SETS := icecat crowdflower homedepot

lock: ## write requirements.lock anew from what .venv holds: change a version there with pip, test, then make lock
	@set -eu; \
	{ sed -n '/^#/p' $(LOCK); \
	  $(PY) -m pip --disable-pip-version-check freeze --all --exclude-editable | grep -vE "$(NOT_LOCKED)"; } > $(LOCK).new; \
	if grep -nE ' @ |^-e ' $(LOCK).new; then \
	  echo "lock: the lines above name a file or folder, not a version; install those packages by version" >&2; \
	  rm $(LOCK).new; exit 1; \
	fi; \
	mv $(LOCK).new $(LOCK); \
	echo "lock: $$(grep -c '^[A-Za-z]' $(LOCK)) packages in $(LOCK)"
# pip comes with the venv; torchvision, torchaudio and torchcodec break transformers beside the CPU torch; triton
# compiles for GPUs only and weighs 1 GB; the rest are CUDA libraries.
NOT_LOCKED := ^(pip|wheel|aisle|torchvision|torchaudio|torchcodec|triton|nvidia-[a-z0-9-]+|cuda-[a-z0-9-]+)[ =]

clean: ## remove .venv, caches and what the demo wrote
	rm -rf $(VENV) $(VENV).lock .aisle dist build .mypy_cache .pytest_cache .ruff_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

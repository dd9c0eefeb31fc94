# Every target puts what it needs into .venv first; nothing outside the checkout is touched.
PYTHON ?= python3
BIN := .venv/bin
PYTEST := $(BIN)/python -m pytest
# Processes that tests start import what others have compiled.
unexport PYTHONDONTWRITEBYTECODE
export OMP_NUM_THREADS ?= 1

.venv/ready: pyproject.toml constraints.txt
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(BIN)/pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[dev]'
	touch $@

.PHONY: setup demo docs notebooks gpu test test-slow test-slow-fast test-slow-clusters test-slow-again test-all test-lowest test-wheel bench fuzz kills mutants lint prometheus
setup: .venv/ready

demo: .venv/ready
	$(BIN)/python jobs/demo.py

# Whole files per process, those that start Ray first; a process that dies fails the run instead of hanging it.
test: .venv/ready
	$(PYTEST) -n 3 --dist loadfile --no-loadscope-reorder --max-worker-restart 0

test-slow: .venv/ready
	$(PYTEST) -m slow --timeout 600

# Those of them that need no cluster of several nodes and no Prometheus.
CLUSTERS := tests/jobs/test_ray_benches.py tests/scale/test_faults.py tests/scale/test_elastic.py tests/scale/test_submit_cluster.py tests/scale/tune tests/monitor
test-slow-fast: .venv/ready
	$(PYTEST) -m slow --timeout 900 -n 2 --dist loadfile tests $(CLUSTERS:%=--ignore %)

# The others, one after the other: their kills and waits depend on the seconds that Ray and Prometheus take.
test-slow-clusters: .venv/ready
	$(PYTEST) -m slow --timeout 600 $(CLUSTERS)

# Those that failed last time, once more.
test-slow-again: .venv/ready
	$(PYTEST) -m slow --timeout 600 --last-failed --last-failed-no-failures none

test-all: test test-slow

# The fast core with the lowest versions that pyproject.toml allows.
test-lowest: .venv/ready
	.ci/lowest

# A wheel in an empty environment, outside the checkout.
test-wheel: .venv/ready
	.ci/wheel

# The documentation site, in build/site: strict, so that a broken link fails.
docs: .venv/ready
	DISABLE_MKDOCS_2_WARNING=true $(BIN)/mkdocs build --quiet

# The notebooks of examples/, from the scripts.
notebooks: .venv/ready
	$(BIN)/jupytext --quiet --set-kernel python3 --to ipynb examples/*.py

# What only a GPU can show, in under 6 minutes on one; see docs/gpu.md.
gpu: .venv/ready
	$(BIN)/python jobs/gpu_check.py

bench: .venv/ready
	$(BIN)/python jobs/bench.py

# 10,000 mutated real files through all readers and commands; findings name the (seed, number) that repeats them.
fuzz: .venv/ready
	$(BIN)/python jobs/fuzz.py

# 200 SIGKILLs of the commands that write; a problem names the round that repeats it.
kills: .venv/ready
	$(BIN)/python jobs/kills.py

# Small changes of the code that no test notices (.ci/mutants.toml says where). Goes on where it was stopped; an hour or two.
mutants: .venv/ready
	.ci/mutants

lint: .venv/ready
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/pyright

# Debian's Prometheus and promtool for the tests of queries and alerts, which are skipped where there is none.
prometheus: .cache/prometheus/usr/bin/prometheus
.cache/prometheus/usr/bin/prometheus:
	mkdir -p .cache/prometheus
	cd .cache/prometheus && apt-get download prometheus && dpkg -x prometheus_*.deb .

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

.PHONY: setup demo test test-slow test-all test-lowest test-wheel bench fuzz lint prometheus
setup: .venv/ready

demo: .venv/ready
	$(BIN)/python jobs/demo.py

test: .venv/ready
	$(PYTEST)

test-slow: .venv/ready
	$(PYTEST) -m slow

test-all: test test-slow

# The fast core with the lowest versions that pyproject.toml allows.
test-lowest: .venv/ready
	.ci/lowest

# A wheel in an empty environment, outside the checkout.
test-wheel: .venv/ready
	.ci/wheel

bench: .venv/ready
	$(BIN)/python jobs/bench.py

# 10,000 mutated real files through all readers and commands; findings name the (seed, number) that repeats them.
fuzz: .venv/ready
	$(BIN)/python jobs/fuzz.py

lint: .venv/ready
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/pyright

# Debian's Prometheus and promtool for the tests of queries and alerts, which are skipped where there is none.
prometheus: .cache/prometheus/usr/bin/prometheus
.cache/prometheus/usr/bin/prometheus:
	mkdir -p .cache/prometheus
	cd .cache/prometheus && apt-get download prometheus && dpkg -x prometheus_*.deb .

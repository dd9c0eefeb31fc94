# Every target puts what it needs into .venv first; nothing outside the checkout is touched.
PYTHON ?= python3
BIN := .venv/bin

.venv/ready: pyproject.toml constraints.txt
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(BIN)/pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[dev]'
	touch $@

.PHONY: setup demo test test-slow bench lint prometheus
setup: .venv/ready

demo: .venv/ready
	$(BIN)/python jobs/demo.py

test: .venv/ready
	$(BIN)/python -m pytest

test-slow: .venv/ready
	$(BIN)/python -m pytest -m slow

bench: .venv/ready
	$(BIN)/python jobs/bench.py

lint: .venv/ready
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/pyright

# Debian's Prometheus and promtool for the tests of queries and alerts, which are skipped where there is none.
prometheus: .cache/prometheus/usr/bin/prometheus
.cache/prometheus/usr/bin/prometheus:
	mkdir -p .cache/prometheus
	cd .cache/prometheus && apt-get download prometheus && dpkg -x prometheus_*.deb .

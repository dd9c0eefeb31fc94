# Every target puts what it needs into .venv first; nothing outside the checkout is touched.
PYTHON ?= python3
BIN := .venv/bin

.venv/ready: pyproject.toml constraints.txt
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(BIN)/pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[dev]'
	touch $@

.PHONY: setup demo test bench lint
setup: .venv/ready

demo: .venv/ready
	$(BIN)/python jobs/demo.py

test: .venv/ready
	$(BIN)/python -m pytest

bench: .venv/ready
	$(BIN)/python jobs/bench.py

lint: .venv/ready
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/pyright

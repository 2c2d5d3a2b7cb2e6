# `make train` and `make test` do all the set-up, then run.
PYTHON ?= python3
BIN := .venv/bin

.PHONY: setup train test lint bench
setup: .venv/ready

# Anew whenever the dependencies change; a half-made environment has no `ready`.
.venv/ready: pyproject.toml
	$(PYTHON) -c 'import sys; sys.exit(not (3, 11) <= sys.version_info < (3, 14) and "error: Python 3.11 to 3.13 is needed; name one with make PYTHON=python3.12")'
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -e ".[dev]"
	touch $@

train: setup
	$(BIN)/python -m slt

test: setup lint
	$(BIN)/python -m pytest --numprocesses 2 --dist loadfile

lint: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

bench: setup
	for name in loader training threads; do $(BIN)/python tests/bench/$$name.py || exit 1; done

# `make train` and `make test` do all the set-up, then run.
PYTHON ?= python3
BIN := .venv/bin
UV := $(BIN)/uv --system-certs
PYTEST := -m pytest --numprocesses 2 --dist loadfile --no-loadscope-reorder
NEEDED := import sys; sys.exit(not (3, 11) <= sys.version_info < (3, 14) and "error: Python 3.11 to 3.13 is needed; name one with make PYTHON=python3.12")

.PHONY: setup train test lint bench docs words lock test-newest test-oldest
setup: .venv/ready

# Exactly what the lock says, with the packages that build others first. Anew whenever it changes; a half-made
# environment has no `ready`.
.venv/ready: pyproject.toml requirements.lock
	$(PYTHON) -c '$(NEEDED)'
	$(PYTHON) -m venv --clear .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c requirements.lock setuptools hatchling editables
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-build-isolation -r requirements.lock
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-build-isolation --no-deps -e .
	touch $@

train: setup
	$(BIN)/python -m slt

test: setup lint
	$(BIN)/python $(PYTEST)

lint: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

bench: setup
	$(BIN)/python tests/bench/table.py $(if $(FILM),--film $(FILM))

# The documentation as a site, in site/; a link or an anchor that leads nowhere is an error.
docs: setup
	NO_MKDOCS_2_WARNING=1 $(BIN)/python -m mkdocs build --strict

# The texts that users read into slt/locale, and what of them lacks its Spanish.
words: setup
	PYTHONPATH=. $(BIN)/python tests/catalogue.py

# Renews the lock within the ranges of pyproject.toml, for Python 3.11 to 3.13.
lock: setup
	$(UV) pip compile --quiet --upgrade --universal --python-version 3.11 --extra dev --no-emit-index-url \
		--no-annotate --custom-compile-command "make lock" --output-file requirements.lock pyproject.toml

# The tests with the newest and with the lowest versions that the ranges allow, each in an environment of its own.
test-newest: RESOLUTION := highest
test-oldest: RESOLUTION := lowest-direct
test-newest test-oldest: setup
	$(UV) --no-config venv --quiet --clear --python $(BIN)/python .venv-$(@:test-%=%)
	$(UV) --no-config pip install --quiet --compile-bytecode --python .venv-$(@:test-%=%) --resolution $(RESOLUTION) -e ".[dev]"
	$(UV) --no-config pip freeze --python .venv-$(@:test-%=%)
	.venv-$(@:test-%=%)/bin/python $(PYTEST)

# Two commands are all the set-up there is: `make run` and `make test`.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
ARGS ?= sample_models
# two at a time, a file never split: what one file asks of TensorFlow is asked once
PYTEST_ARGS ?= -n 2 --dist loadfile

.PHONY: run test lint types walls tests bench samples screenshot clean

run: $(VENV)/.run-ready
	$(BIN)/ckptui $(ARGS)

test: lint types walls tests

lint: $(VENV)/.dev-ready
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(VENV)/.dev-ready
	$(BIN)/mypy

walls: $(VENV)/.dev-ready
	$(BIN)/lint-imports

tests: $(VENV)/.dev-ready
	$(BIN)/python -m pytest $(PYTEST_ARGS)

bench: $(VENV)/.dev-ready
	$(BIN)/python -m benchmarks

samples: $(VENV)/.dev-ready
	$(BIN)/pip install -q -e '.[tf,samples]'
	$(BIN)/python sample_models/make_samples.py

screenshot: $(VENV)/.dev-ready
	$(BIN)/python docs/screenshot.py

$(VENV)/.made:
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 10) and "ckptui needs Python 3.10 or newer: make PYTHON=/path/to/python3 run")'
	$(PYTHON) -m venv --clear $(VENV)
	$(BIN)/python -m pip install -q --upgrade pip
	touch $@

$(VENV)/.run-ready: pyproject.toml | $(VENV)/.made
	@echo "Setting up $(VENV) (TensorFlow is a download of some 600 MB; this happens once) ..."
	$(BIN)/pip install -q -e '.[tf]'
	touch $@

$(VENV)/.dev-ready: pyproject.toml | $(VENV)/.made
	@echo "Setting up $(VENV) for tests (TensorFlow is a download of some 600 MB; this happens once) ..."
	$(BIN)/pip install -q -e '.[tf,legacy,dev]'
	touch $@ $(VENV)/.run-ready

clean:
	rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache

# Everything happens in .venv, which the first target that needs it makes.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
WORKERS ?= auto

.DEFAULT_GOAL := help
.PHONY: help demo test lint format sanitize regrtest regrtest-fast bench bench-store schemas samples clean

help: ## list the targets
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## /\1|/' | awk -F'|' '{printf "  make %-13s %s\n", $$1, $$2}'

$(READY): pyproject.toml setup.py $(wildcard tracekit/_native/*.[ch])
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "tracekit needs Python 3.11 or newer; try: make PYTHON=python3.12"; exit 1; }
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-compile --editable '.[test]'
	@touch $@

$(VENV)/.dev: $(READY)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[dev]'
	@touch $@

demo: $(READY) ## record a real program, then query, replay and simulate the recording
	@PATH="$(CURDIR)/$(BIN):$$PATH" sh sample_traces/demo/run.sh

test: export PYTHONDONTWRITEBYTECODE :=  # or the tests would be compiled anew each time, in each worker
test: export TRACEKIT_QUICK := 1
test: $(READY) ## run the tests on one Python
	$(BIN)/python -m pytest -n $(WORKERS) --dist worksteal

lint: $(VENV)/.dev ## ruff and mypy
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

format: $(VENV)/.dev ## let ruff put the sources in order
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

sanitize: $(READY) ## the native engine's tests under AddressSanitizer and UndefinedBehaviorSanitizer
	$(BIN)/python -m tools.sanitize

regrtest: $(READY) ## CPython's own tests with and without the recorder
	$(BIN)/python -m tools.regrtest $(REGRTEST)

regrtest-fast: $(READY) ## some 25 short ones of them
	$(BIN)/python -m tools.regrtest --fast $(REGRTEST)

$(VENV)/.bench: $(READY)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[bench]'
	@touch $@

bench: $(VENV)/.bench ## measure; writes benchmarks/results/ (BENCH=--quick for a first look)
	$(BIN)/python -m benchmarks $(BENCH)

bench-store: $(VENV)/.bench ## measure the store, too (BENCH="--largest 10M" for a first look)
	$(BIN)/python -m benchmarks.store $(BENCH)

schemas: $(READY) ## write schemas/ and the references in docs/sql.md and docs/api.md from the code
	$(BIN)/tracekit schema log > schemas/log.v2.json
	$(BIN)/tracekit schema store > schemas/store.v7.sql
	$(BIN)/python -m tools.reference
	$(BIN)/python -m tools.api

samples: $(READY) ## record the sample traces again (only for a new log version)
	$(BIN)/python sample_traces/make.py --again

clean: ## remove what the targets made
	rm -rf $(VENV) .nox .demo .regrtest build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis

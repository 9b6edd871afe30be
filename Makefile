# `make` alone lists the targets. PYTHON=python3.12 picks another interpreter, ARGS="..." goes to the command behind demo, test, faults, bench and bench-full.
PYTHON ?= python3
BIN := .venv/bin
READY := .venv/.ready
PIP := $(BIN)/python -m pip --quiet --disable-pip-version-check

help: ## list the targets
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z]+):.*## /make \1\t/' | expand -t 20

demo: $(READY) ## trace a small research engine on text that this machine has
	$(BIN)/ire-otel demo $(ARGS)

test: $(READY) ## run the test suite
	IRE_OTEL_RAISE=1 $(BIN)/python -m pytest -n auto $(ARGS)

slow: $(READY) ## run the tests that take longer: real peers, simulations, tutorials
	IRE_OTEL_RAISE=1 $(BIN)/python -m pytest -n auto -m slow $(ARGS)

faults: $(READY) ## kill, starve and corrupt it, and count what is lost
	$(BIN)/python -m pytest tests/faults -m faults -n 2 $(ARGS)

check: $(READY) ## lint, format, import layers, types
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/lint-imports
	$(BIN)/mypy
	$(BIN)/basedpyright

bench: $(READY) ## what tracing costs beside bare OpenTelemetry: a first look
	$(BIN)/python -m benchmarks $(ARGS)

bench-full: $(READY) ## the same in full and beside other systems, into docs/performance.md; up to an hour
	$(BIN)/uv venv --quiet --allow-existing --python $(BIN)/python build/bench
	VIRTUAL_ENV=build/bench $(BIN)/uv pip install --quiet --no-deps --no-verify-hashes --requirement requirements.txt
	VIRTUAL_ENV=build/bench $(BIN)/uv pip install --quiet --no-build-isolation --editable . --group peers
	build/bench/bin/python -m benchmarks --full --json build/benchmarks.json --merge --page docs $(ARGS)

build: $(READY) ## source distribution and wheel into dist/
	rm -rf dist
	$(BIN)/python -m build --no-isolation

requirements: $(READY) ## pin every dependency anew, with hashes
	$(BIN)/uv pip compile pyproject.toml --all-extras --group dev --universal --upgrade --generate-hashes --no-annotate \
		--no-emit-index-url --quiet --custom-compile-command 'make requirements' --output-file requirements.txt

clean: ## remove the environment, builds and caches; brain/ stays
	rm -rf .venv build dist .hypothesis .import_linter_cache .mypy_cache .pytest_cache .ruff_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

# The stamp is written last, so an interrupted installation is done again. The list is complete: pip need not resolve anything.
$(READY): requirements.txt pyproject.toml
	@echo 'installing into .venv (half a minute)'
	$(PYTHON) -m venv .venv
	$(PIP) install --no-deps --require-hashes --requirement requirements.txt
	$(PIP) install --no-deps --no-build-isolation --editable .
	$(PIP) check
	@touch $@

.PHONY: help demo test slow faults check bench bench-full build requirements clean

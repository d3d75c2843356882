# Everything a newcomer needs: `make demo`, `make test`. Needs Python 3.11+, pip and make; makes its own .venv.

PYTHON ?= python3
BIN := .venv/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check --quiet install --constraint constraints.txt

.PHONY: help demo setup check test slow faults fuzz test-gpu clean

help: ## this list
	@grep -E '^[a-z-]+:.*##' Makefile | sed -E 's/:.*## /\t/' | expand -t 10

demo: .venv/.runs ## enlarge a photograph with the model that ships (no torch, no GPU)
	$(BIN)/python demo/demo.py

setup: .venv/.develops ## everything for work on the project: torch, linters, tests

check: .venv/.develops ## lint, types, import contracts
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-logo

# What measures time or memory runs after the rest, with nothing beside it.
TESTS := $(BIN)/python -m pytest
CORES := $(shell $(PYTHON) -c 'import os; print(min(8, len(getattr(os, "sched_getaffinity", lambda _: range(os.cpu_count()))(0))))')
ABREAST := -n $(CORES) --dist worksteal

test: check ## lint, types, import contracts, tests
	$(TESTS) $(ABREAST) -m 'not slow and not gpu and not alone'
	$(TESTS) -m 'alone and not slow and not gpu'

slow: .venv/.develops ## the tests that need minutes, or the data sets
	$(TESTS) $(ABREAST) -m 'slow and not gpu and not alone'
	$(TESTS) -m 'alone and slow and not gpu'

faults: .venv/.develops ## every fault of tests/faults, each in a process of its own, and a table of them
	$(TESTS) $(ABREAST) tests/faults/test_faults.py -m 'slow or not slow' --durations=0 --durations-min=60

FUZZ_SECONDS ?= 60
FUZZ_SEED ?= 1
FUZZED := $(patsubst tests/fuzz/fuzz_%.py,%,$(wildcard tests/fuzz/fuzz_*.py))

fuzz: .venv/.develops ## atheris on every parser of ours, FUZZ_SECONDS in all; what it finds lies in build/fuzz
	@for target in $(FUZZED); do \
		mkdir -p build/fuzz/$$target && \
		$(BIN)/python tests/fuzz/fuzz_$$target.py build/fuzz/$$target tests/fuzz/corpus/$$target \
			-max_total_time=$$(( $(FUZZ_SECONDS) / $(words $(FUZZED)) )) -timeout=5 -rss_limit_mb=2048 \
			-artifact_prefix=build/fuzz/$$target- -seed=$(FUZZ_SEED) -verbosity=0 -print_final_stats=1 || exit 1; \
	done

test-gpu: .venv/.develops ## what needs a GPU, and fails without one; then a table of parity and speed
	GPSR_REQUIRE_GPU=1 $(BIN)/python -m pytest -m gpu
	$(BIN)/python benchmarks/gpu.py

clean: ## remove what these targets made
	rm -rf .venv demo/out .mypy_cache .pytest_cache .ruff_cache .import_linter_cache .hypothesis

.venv/bin/python:
	@$(PYTHON) -c 'import sys; sys.exit(0 if sys.version_info >= (3, 11) else f"found Python {sys.version.split()[0]}; expected 3.11 or later. Try: make PYTHON=python3.12 ...")'
	$(PYTHON) -m venv .venv

.venv/.runs: pyproject.toml constraints.txt | .venv/bin/python
	$(PIP) --editable '.[cpu]'
	@touch $@

.venv/.develops: pyproject.toml constraints.txt | .venv/bin/python
	$(PIP) --editable '.[dev]'
	@touch $@ .venv/.runs

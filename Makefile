# `make` = linters, tests and docs; `make help` lists the rest. Needs nothing but Python 3.11, git and make.
PY ?= python3.11
VENV := .venv
BIN := $(VENV)/bin
export PYTHONDONTWRITEBYTECODE :=

# Tests wait (for processes, time-outs, locks) more than they work: three times as many workers as cores.
JOBS ?= $(shell expr 3 \* $$(nproc))
PARALLEL := -n $(JOBS) --dist loadgroup
SELECTED = $(if $(K),-k "$(K)")

.PHONY: all help test lint docs fix crash nightly mutants bench clean
all: lint test docs  ## lint, test and docs: what a commit must pass

help:  ## this list
	@for file in $(MAKEFILE_LIST); do \
	    printf '\n%s\n' $$file; \
	    sed -nE 's/^([a-z][a-z-]*):.*  ## (.*)/  \1\t\2/p' $$file | sort | expand -t 26; \
	done

$(VENV)/.ready: pyproject.toml requirements-dev.lock
	$(PY) -m venv $(VENV)
	$(BIN)/pip install --quiet --require-hashes --requirement requirements-dev.lock
	$(BIN)/pip install --quiet --no-deps --no-build-isolation --editable .
	touch $@

test: $(VENV)/.ready  ## everything that needs no platform (K=words selects, JOBS=1 runs one after the other)
	$(BIN)/pytest $(PARALLEL) -m "not slow and not quiet" $(SELECTED)
	$(BIN)/pytest -m "quiet and not slow" $(SELECTED) || [ $$? = 5 ]  # 5: none was selected

lint: $(VENV)/.ready  ## style, types, layers
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-cache

fix: $(VENV)/.ready  ## what the linters can put right by themselves
	$(BIN)/ruff format --quiet .  # before, too: what is wrapped is not too long any more
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

docs: $(VENV)/.ready  ## regenerate the reference, check the pages, follow the recipes of CONTRIBUTING.md
	$(BIN)/python docs/generate.py
	$(BIN)/pytest tests/docs -q -m "slow or not slow"

crash: $(VENV)/.ready  ## power cuts at every touch
	$(BIN)/pytest tests/crash

nightly: $(VENV)/.ready  ## the crash suites in their large size, property tests with new examples
	QUIESCE_SIZE=nightly $(BIN)/pytest tests/crash tests/unit -m "slow or not slow"

mutants: $(VENV)/.ready  ## break the engine on purpose: each planted bug must be found
	$(BIN)/python tests/crash/mutants.py

bench: $(VENV)/.ready  ## figures, each beside a baseline of the same run
	for script in bench/bench_*.py; do $(BIN)/python $$script || exit 1; done

clean:  ## remove the environment, the labs' folder and what was built
	rm -rf $(VENV) $(RELEASE) .lab build dist site

include $(wildcard mk/*.mk)

# One command per wish. `make` = tests, linters and docs; nothing but Python 3.11, git and make is needed.
PY ?= python3.11
VENV := .venv
BIN := $(VENV)/bin
export PYTHONDONTWRITEBYTECODE :=

.PHONY: all test lint docs fix crash nightly mutants bench clean
all: lint test docs

$(VENV)/.ready: pyproject.toml
	$(PY) -m venv $(VENV)
	$(BIN)/pip install --quiet --upgrade 'pip>=25.1'
	$(BIN)/pip install --quiet --editable '.[ssh]' --group dev
	touch $@

test: $(VENV)/.ready  ## everything that needs no platform (K=words selects)
	$(BIN)/pytest $(if $(K),-k "$(K)")

lint: $(VENV)/.ready  ## style, types, layers
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-cache

fix: $(VENV)/.ready  ## what the linters can put right by themselves
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

docs: $(VENV)/.ready  ## regenerate the command line's reference, then check the pages
	$(BIN)/python docs/generate.py
	$(BIN)/pytest tests/docs -q

crash: $(VENV)/.ready  ## power cuts at every touch
	$(BIN)/pytest tests/crash

nightly: $(VENV)/.ready  ## the crash suites in their large size
	QUIESCE_SIZE=nightly $(BIN)/pytest tests/crash -m "slow or not slow"

mutants: $(VENV)/.ready  ## break the engine on purpose: each planted bug must be found
	$(BIN)/python tests/crash/mutants.py

bench: $(VENV)/.ready  ## figures, each beside a baseline of the same run
	for script in bench/bench_*.py; do $(BIN)/python $$script || exit 1; done

clean:
	rm -rf $(VENV) .lab build dist

include $(wildcard mk/*.mk)

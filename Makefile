# Every target works from a fresh checkout on a machine with make and Python 3.11 or newer.
PYTHON ?= python3
JOBS ?= 2

VENV := .venv
BIN := $(VENV)/bin
INSTALLED := $(VENV)/.installed
TESTABLE := $(VENV)/.testable

.PHONY: help run test test-all check docs clean

help:
	@echo "make run    install, dissect the built-in network on the built-in data, print the summary"
	@echo "make test   install and run every test that takes seconds (JOBS=2 test processes)"
	@echo "make test-all  the same, and those that take minutes"
	@echo "make check  lint, format, types, then every test that takes seconds"
	@echo "make docs   write the command line's help into README.md"
	@echo "make clean  remove what make made; PYTHON=python3.12 picks another Python"

run: $(INSTALLED)
	$(BIN)/ndengine run

test: $(TESTABLE)
	$(BIN)/python -m pytest -n $(JOBS) -m "not slow"

test-all: $(TESTABLE)
	$(BIN)/python -m pytest -n $(JOBS)

check: $(TESTABLE)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/python -m pytest -n $(JOBS) -m "not slow"

docs: $(TESTABLE)
	$(BIN)/python tests/test_docs.py

clean:
	rm -rf $(VENV) build dist .pytest_cache .mypy_cache .ruff_cache .hypothesis *.egg-info

# The stamps are newer than what decides an installation, so nothing is installed twice.
$(INSTALLED): pyproject.toml setup.py constraints.txt
	@command -v $(PYTHON) >/dev/null || \
	  { echo "There is no $(PYTHON) here; install Python 3.11 or newer, or name it: make PYTHON=python3.12 run" >&2; exit 1; }
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "ndengine needs Python 3.11 or newer and $(PYTHON) is $$($(PYTHON) -V 2>&1); name a newer one: make PYTHON=python3.12 run" >&2; exit 1; }
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable .
	@touch $@

$(TESTABLE): $(INSTALLED)
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[test]'
	@touch $@

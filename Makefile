# Two commands on a fresh machine with Python 3.11 or newer: `make demo` and `make test`.
PYTHON ?= python3
VENV   ?= .venv
BIN    := $(VENV)/bin
CORES  := $(shell nproc 2>/dev/null || sysctl -n hw.ncpu 2>/dev/null || echo 2)

# One process at a time with as many threads as cores: two such processes side by side are many times slower.
export OMP_NUM_THREADS ?= $(CORES)
export TOKENIZERS_PARALLELISM ?= false
export PIP_DISABLE_PIP_VERSION_CHECK = 1

PYTEST      = $(BIN)/python -m pytest
PYTEST_ARGS ?=
COVERAGE_MIN ?= 90

.PHONY: help demo install install-dev test test-long check format clean distclean

help:  ## what can be made
	@awk -F ':.*## ' '/^[a-z-]+:.*## /{printf "make %-12s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

demo: $(VENV)/.installed  ## install, fetch the pinned parts and run the main job
	$(BIN)/sensorium demo

install: $(VENV)/.installed  ## the package in $(VENV), with pinned versions

install-dev: $(VENV)/.installed-dev  ## … and what tests and checks need

test: $(VENV)/.installed-dev  ## every test but the long ones, with line and branch coverage of src
	rm -f .coverage .coverage.* coverage.json
	$(PYTEST) --cov --cov-report=term $(PYTEST_ARGS)
	$(BIN)/python .ci/coverage_summary.py --at-least $(COVERAGE_MIN)

test-long: $(VENV)/.installed-dev  ## what takes longer: many kills, a million rows, the figures
	$(PYTEST) -m long --timeout 7200 $(PYTEST_ARGS)

check: $(VENV)/.installed-dev  ## habits: ruff, mypy, import-linter
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

format: $(VENV)/.installed-dev  ## let ruff mend what it can
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

clean:  ## remove caches of tools; runs and the environment stay
	rm -rf build dist htmlcov .pytest_cache .mypy_cache .ruff_cache .import_linter_cache .hypothesis .coverage .coverage.* coverage.json
	find src tests -name __pycache__ -type d -prune -exec rm -rf {} +

distclean: clean  ## remove the environment too
	rm -rf $(VENV)

# Stamps: an environment is made once, and again only when what it should hold has changed.
$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "error: $(PYTHON) is older than 3.11; give another: make PYTHON=python3.12" >&2; exit 2; }
	$(PYTHON) -m venv $(VENV) || { rm -rf $(VENV); exit 2; }

$(VENV)/.installed: pyproject.toml constraints.txt | $(BIN)/python
	$(BIN)/pip install --quiet -c constraints.txt -e .
	touch $@

$(VENV)/.installed-dev: pyproject.toml constraints.txt $(VENV)/.installed
	$(BIN)/pip install --quiet -c constraints.txt -e '.[dev]'
	touch $@

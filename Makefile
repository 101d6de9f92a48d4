# Every target does its own set-up, once, in a virtual environment beside this file.
#   make test                        the quick tests, under the best Python on this machine
#   make test-all ARGS=tests/nn      every test, here of one folder: ARGS goes to pytest as it is
#   make PYTHON=python3.12 test      under another one, in an environment of its own
#   make run ARGS="--epochs 5"       ARGS goes to the program as it is

PYTHON ?=
VENV ?= .venv$(if $(PYTHON),-$(notdir $(PYTHON)))
ARGS ?=

python := $(VENV)/bin/python
installed := $(VENV)/installed

.DEFAULT_GOAL := help
.PHONY: help run notebook test test-all lint format bench clean

help: ## this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-8s %s\n", $$1, $$2 }' Makefile

run: $(installed)-experiments ## train LeNet-5 on handwritten digits
	$(python) -m experiments classify $(ARGS)

notebook: $(installed)-lab ## open the notebooks of the course in the browser
	$(python) -m jupyterlab notebooks $(ARGS)

pytest := $(python) -m pytest --numprocesses auto --maxprocesses 4 --dist loadfile --costs

test: $(installed)-test ## run the tests that are quick, a few minutes in all
	$(pytest) -m "not slow" $(ARGS)

test-all: $(installed)-test ## run every test
	$(pytest) $(ARGS)

lint: $(installed)-dev ## check style and types
	$(python) -m ruff check .
	$(python) -m ruff format --check .
	$(python) -m mypy

format: $(installed)-dev ## mend what can be mended by machine
	$(python) -m ruff check --fix .
	$(python) -m ruff format .

bench: $(installed)-experiments ## steps per second beside the libraries that are installed
	$(python) -m experiments bench $(ARGS)

clean: ## remove the environments and all caches
	rm -rf .venv* build dist .mypy_cache .ruff_cache .pytest_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

# An extra of pyproject.toml is installed when its stamp is missing or older than that file.
$(installed)-%: pyproject.toml
	@$(python) -m pip --version >/dev/null 2>&1 || { base=$$(.ci/find-python $(PYTHON)) && "$$base" -m venv $(VENV); }
	@echo "Installing dlcore[$*] into $(VENV): a minute or two, this once."
	@$(python) -m pip install --quiet --quiet --disable-pip-version-check --editable ".[$*]"
	@touch $@

# conversion-monitor: the commands the project always has. Each one sets up what it needs.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed

.PHONY: setup demo test check bench clean
.DEFAULT_GOAL := help

help: ## this list
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 14

setup: $(STAMP) ## .venv with the package and all its parts

$(STAMP): pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[test,plot]'
	@touch $(STAMP)

demo: setup ## embedded broker, worker, lifelike traffic, live page; one command
	$(BIN)/conversion-monitor demo

test: setup ## all tests that this machine can run; says what it left out and why
	$(BIN)/python -m pytest -m "not benchmark"

check: setup ## ruff, mypy strict, unit and docs tests
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/python -m pytest tests/unit tests/functional tests/test_layers.py

bench: setup ## speed and memory, as ratios to a bare consumer loop of the same run
	$(BIN)/python -m tests.benchmarks

clean: ## removes what the commands above made
	rm -rf $(VENV) data .pytest_cache .mypy_cache .ruff_cache build *.egg-info

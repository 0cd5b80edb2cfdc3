# conversion-monitor: the commands that the project always has. Each sets up what it needs.
#
# The first Python here that is new enough; `make PYTHON=/path/to/python …` takes another.
PYTHON ?= $(firstword $(foreach p,python3 python3.13 python3.12 python3.11 python,$(shell \
	$(p) -c 'import sys; sys.exit(sys.version_info < (3, 11))' >/dev/null 2>&1 && echo $(p))))
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
# What `make check` runs of the tests: no broker, no browser, no other program.
FAST_TESTS := tests/unit tests/functional tests/test_layers.py tests/test_docs.py

.PHONY: help setup demo lint check test bench chaos soak detection clean
.DEFAULT_GOAL := help

help: ## this list
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 12

setup: $(STAMP) ## .venv with the package, its tests' tools, at the versions of constraints.txt

# Made anew when it does not run (a Python that is gone, an installation that was cut short).
$(STAMP): pyproject.toml constraints.txt
	@test -n "$(PYTHON)" || { echo "conversion-monitor needs Python 3.11 or newer: install it, or name it: make PYTHON=/path/to/python3.11 $(MAKECMDGOALS)" >&2; exit 1; }
	@$(BIN)/python -m pip --version >/dev/null 2>&1 || $(PYTHON) -m venv --clear $(VENV) || { rm -rf $(VENV); \
		echo "$(PYTHON) cannot make an environment: install its venv module (Debian, Ubuntu: apt-get install python3-venv), then run make again" >&2; exit 1; }
	@echo "installing into $(VENV) (about a minute the first time)"
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[test,plot]'
	@touch $(STAMP)

demo: setup ## broker, worker, lifelike traffic and live rates: one command; Ctrl-C ends it
	@$(BIN)/conversion-monitor demo

lint: setup ## ruff and mypy strict
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

check: lint ## lint, and the tests that need nothing but Python
	$(BIN)/python -m pytest $(FAST_TESTS)

test: setup ## all tests that this machine can run; says what it left out and why
	$(BIN)/python -m pytest -m "not benchmark"

bench: setup ## speed and memory, as ratios to a bare consumer loop of the same run
	$(BIN)/python -m tests.benchmarks

chaos: setup ## kills, zombies, cut networks, broker restarts under load, numbers compared after each (an hour)
	$(BIN)/python -m tests.chaos

soak: setup ## half an hour at half load: memory, lag and open files stay flat
	$(BIN)/python -m tests.benchmarks.soak

detection: setup ## how soon and how seldom wrongly drops are found: the acceptance table on fresh seeds (15 minutes)
	$(BIN)/python -m tests.detection

clean: ## removes what the commands above made
	rm -rf $(VENV) data build .pytest_cache .mypy_cache .ruff_cache .hypothesis *.egg-info
	find monitor streams tests -name __pycache__ -type d -prune -exec rm -rf {} +

# make help lists what there is.

# A variable of the shell changes none of these; one on make's command line does.
PYTHON = python3
VENV = .venv
RUN := $(VENV)/bin/python -m
DEMO := build/demo
# The generated tests and migrations/env.py import the package by its name: Python only once generated.
# tests/test_output_checks.py looks at them there.
NOT_PYTHON := --extend-exclude '*cookiecutter.project_slug*/tests,*/migrations/env.py'
DEMO_APP := $(DEMO)/my_tornado_app
PIP := $(RUN) pip --quiet --disable-pip-version-check

ifeq ($(shell command -v $(PYTHON) 2> /dev/null),)
$(error There is no $(PYTHON) here: name a Python that is, for example PYTHON=python3.13)
endif

.DEFAULT_GOAL := help

.PHONY: help
help: ## list the commands
	@awk -F ':.*## ' '/^[a-z]+:.*## / {printf "make %-8s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

.PHONY: demo
demo: $(VENV)/.installed ## generate an app and start it on http://localhost:8888 (PORT=9000: elsewhere)
	@echo "Generating an app with the default answers in $(DEMO_APP)"
	@rm -rf $(DEMO_APP)
	@mkdir -p $(DEMO)
	@$(RUN) cookiecutter . --no-input --output-dir $(DEMO) 2> $(DEMO)/log || { cat $(DEMO)/log; exit 1; }
	@$(MAKE) --no-print-directory -C $(DEMO_APP) run ENGINE=memory VENV=../venv

.PHONY: test
test: $(VENV)/.installed-dev packages ## test everything, in all combinations
	$(RUN) ruff check $(NOT_PYTHON) .
	$(RUN) ruff format --check $(NOT_PYTHON) .
	$(RUN) pytest -n auto --dist loadfile --no-loadscope-reorder

.PHONY: quick
quick: $(VENV)/.installed-dev ## test what takes seconds
	$(RUN) pytest -n auto --dist loadfile -m 'not slow'

.PHONY: format
format: $(VENV)/.installed-dev ## format the code, and repair what ruff can
	$(RUN) ruff check --fix $(NOT_PYTHON) .
	$(RUN) ruff format $(NOT_PYTHON) .

.PHONY: lock
lock: $(VENV)/.installed-dev ## name the releases that generated projects install; UPGRADE=1 takes the newest ones
	$(RUN) scripts.lock

.PHONY: mutants
mutants: $(VENV)/.installed-dev packages ## see how many faults in sessions/ its tests notice (SAMPLE=200 ENGINE=redis SEED=1)
	nice $(RUN) scripts.mutants --sample $(or $(SAMPLE),200) --engine $(or $(ENGINE),redis) --seed $(or $(SEED),1)

.PHONY: bench
bench: ## measure against peers and write docs/speed.md (QUICK=1: only measure, in two minutes)
	$(PYTHON) tests/benchmarks/run.py $(if $(QUICK),--quick,--write)

.PHONY: chaos
chaos: $(VENV)/.installed-dev packages ## break one thing after another for five minutes, and write docs/game-day.md
	$(RUN) tests.production.chaos --write

.PHONY: capacity
capacity: $(VENV)/.installed-dev packages ## measure what a session, a request and a connection take
	PYTHONDONTWRITEBYTECODE=1 $(RUN) scripts.measure_capacity

.PHONY: pictures
pictures: $(VENV)/.installed-dev packages ## take the README's pictures of a generated app
	PYTHONDONTWRITEBYTECODE=1 $(RUN) scripts.take_pictures

.PHONY: clean
clean: ## remove the virtual environment, the demo and all caches
	rm -rf $(VENV) build .mypy_cache .pytest_cache .ruff_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

.PHONY: packages
packages:
	@scripts/install_packages.sh redis-server memcached chromium nginx postgres pgbouncer openssl \
		promtool systemd-analyze

# Remade when pyproject.toml changes. --group is an option of pip 25.1 and newer.
$(VENV)/.installed: pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "Python 3.11 or newer is needed, and $(PYTHON) is older: make ... PYTHON=python3.13"; exit 1; }
	@echo "Installing cookiecutter into $(VENV)"
	@$(PYTHON) -m venv $(VENV)
	@$(PIP) install --upgrade 'pip>=25.1'
	@$(PIP) install --group bake
	@touch $@

$(VENV)/.installed-dev: $(VENV)/.installed
	@echo "Installing the development tools into $(VENV)"
	@$(PIP) install --group dev
	@touch $@

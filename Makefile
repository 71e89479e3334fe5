# MLOps Dojo. Python 3.11 to 3.13 and make are enough. Every target sets up the rest.
#
# - make demo                                    the whole story, shown live; leaves the stack up
# - make demo ARGS="--act bad-canary"            a challenger fails only live and is taken back
# - make demo ARGS="--act fleet"                 all models, and a fault that reaches some
# - make demo ARGS="--transactions FILE"         the same, replaying real transactions
# - make test                                    every test, on real Redis, MLflow, Feast, Airflow
# - make test ARGS="tests/unit -k clock"         some of them

# Scripts in .venv/bin hold the checkout's path. `python -m` works after the checkout was moved.
PYTHON_ENV := .venv/bin/python
READY := .venv/.synced

# Containers often set it. Then each process compiles the sources again, for a third of a second.
unexport PYTHONDONTWRITEBYTECODE

.DEFAULT_GOAL := help
.PHONY: help setup env demo up down status test check format bench drills clean

help: ## List the targets
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "  make %-8s %s\n", $$1, $$2 }' Makefile

setup: $(READY) ## Install everything into .venv (other targets do it by themselves)

# Runs again only when the lock or its sources change.
$(READY): pyproject.toml uv.lock scripts/setup.sh
	@sh scripts/setup.sh
	@touch $@

env: ## Write .env with the secrets for docker-compose.yml; existing ones stay
	@sh scripts/env.sh

demo: $(READY) ## Start the stack, train, serve, retrain, roll out (ARGS="--act bad-canary")
	@$(PYTHON_ENV) -m dojo demo $(ARGS)

up: $(READY) ## Start the stack
	@$(PYTHON_ENV) -m dojo up $(ARGS)

down: $(READY) ## Stop the stack; ARGS=--purge deletes its data too
	@$(PYTHON_ENV) -m dojo down $(ARGS)

status: $(READY) ## Show the running processes and their health
	@$(PYTHON_ENV) -m dojo status $(ARGS)

test: $(READY) ## Run every test (unit, integration, e2e); ARGS="tests/unit" runs some
	$(PYTHON_ENV) -m tests.again $(or $(ARGS),tests)

check: $(READY) ## Lint, formatting, types, import rules, sentences and line widths
	$(PYTHON_ENV) -m ruff check .
	$(PYTHON_ENV) -m ruff format --check .
	$(PYTHON_ENV) -m mypy
	$(PYTHON_ENV) scripts/prose.py --check
	$(PYTHON_ENV) -c 'from importlinter.cli import lint_imports_command; lint_imports_command()'

format: $(READY) ## Correct formatting, and the linter's findings where it can
	$(PYTHON_ENV) -m ruff check --fix .
	$(PYTHON_ENV) -m ruff format .

bench: $(READY) ## Measure speed on this machine
	$(PYTHON_ENV) -m tests.bench $(ARGS)

drills: $(READY) ## Play the drills' scripts, and keep their records; ARGS="cents --responders gold"
	$(PYTHON_ENV) -m tests.drills.play $(ARGS)

clean: ## Stop the stack; delete .venv, .tools and caches (make down ARGS=--purge deletes the world)
	@if [ -x $(PYTHON_ENV) ]; then $(PYTHON_ENV) -m dojo down; fi
	rm -rf .venv .tools .mypy_cache .ruff_cache .pytest_cache .import_linter_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

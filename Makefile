# The two main commands are `make compare` (the benchmark) and `make test`.
# Both require only Python 3.11 or newer and make.

PYTHON ?= python3
BIN := .venv/bin
READY := .venv/.ready
ENGINE ?= podman
IMAGE ?= localhost/bookstore:latest

.DEFAULT_GOAL := help
.PHONY: help setup compare serve test lint format check image container-test docs baseline aa power killed clean

help: ## list the commands
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-14s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

setup: $(READY) ## create .venv with the pinned packages

compare: $(READY) ## compare engine profiles on 10,000 books (ARGS="…" to choose profiles and options)
	@$(BIN)/bookstore compare $(or $(ARGS),psycopg-sync-lazy psycopg-sync-joined asyncpg-joined asyncpg-json --max-rounds 8)

serve: $(READY) ## serve the catalogue on http://127.0.0.1:8000
	@$(BIN)/bookstore serve

test: $(READY) ## run the tests on an embedded PostgreSQL (ARGS="-k profile" to select some)
	@$(BIN)/pytest $(or $(ARGS),-n 3 --dist loadfile --no-loadscope-reorder)

lint: $(READY) ## run ruff, mypy and the import contracts
	@$(BIN)/ruff check
	@$(BIN)/ruff format --check
	@$(BIN)/mypy
	@$(BIN)/lint-imports --no-logo

format: $(READY) ## format the code
	@$(BIN)/ruff check --fix
	@$(BIN)/ruff format

check: lint test ## run all checks of CI

image: ## build the service's container image (IMAGE=NAME, ENGINE=docker, ARGS="--secret …")
	@BUILDAH_FORMAT=docker $(ENGINE) build --file Containerfile --tag $(IMAGE) \
		--label org.opencontainers.image.version=$$(sed -n 's/^version = "\(.*\)"/\1/p' pyproject.toml) \
		--label org.opencontainers.image.revision=$$(git rev-parse HEAD 2>/dev/null || echo unknown) $(ARGS) .

container-test: $(READY) ## build the image and test compose.yaml with podman-compose, printing each step
	@$(BIN)/pytest tests/container -s $(ARGS)

docs: $(READY) ## generate docs/reference.md from the code
	@$(BIN)/python -m bookstore.cli.reference > docs/reference.md

baseline: $(READY) ## compare with the article's own design (FastAPI, uvicorn)
	@benchmarks/article/run

aa: $(READY) ## compare a profile with itself 40 times to count false positives (ARGS=5 for fewer)
	@$(BIN)/python benchmarks/truth/trial.py aa $(ARGS)

power: $(READY) ## plant a 10 % slowdown 20 times to measure the detection rate (ARGS=5 for fewer)
	@$(BIN)/python benchmarks/truth/trial.py power $(ARGS)

killed: ## stop or kill a comparison at 20 random moments and check for leftovers
	@$(BIN)/python benchmarks/truth/killed.py $(ARGS)

clean: ## remove generated files (not the databases; `bookstore db status` shows where they are)
	rm -rf .venv dist runs .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
	find src tests migrations benchmarks -name __pycache__ -prune -exec rm -rf {} +

$(READY): requirements.lock pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is required, found %s; run: make PYTHON=python3.12 …" % sys.version.split()[0])'
	@echo "Setting up .venv (once)" >&2
	@$(PYTHON) -m venv --clear .venv
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --require-hashes -r requirements.lock
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable .
	@touch $@

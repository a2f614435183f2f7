# Everything a person or CI runs. Bare `make` prints this help.
VENV ?= .venv
BIN := $(VENV)/bin
PATHS := guard agents tests proto/build.py

.DEFAULT_GOAL := help
.PHONY: help deps venv proto demo test check lint format types imports buf bpf bpf-check bench

help: ## this list
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## (.*)/  make \1\t\2/' | expand -t 20

deps: ## Debian packages (as root or through sudo; does nothing when they are there)
	@sh config/deps.sh

venv: $(VENV)/.stamp

$(VENV)/.stamp: pyproject.toml proto/build.py $(wildcard proto/guard/api/v1/*.proto)
	@test -x $(BIN)/python || python3 -m venv $(VENV)
	@$(BIN)/pip install --quiet --disable-pip-version-check --editable '.[dev]'
	@touch $@

proto: venv ## generate guard/api from the .proto files
	@$(BIN)/python proto/build.py

format: venv ## format the code
	@$(BIN)/ruff format $(PATHS)
	@$(BIN)/ruff check --quiet --fix $(PATHS)

lint: venv
	@$(BIN)/ruff format --check $(PATHS)
	@$(BIN)/ruff check $(PATHS)

types: venv
	@$(BIN)/mypy

imports: venv
	@$(BIN)/lint-imports

buf: venv
	@cd proto && $(abspath $(BIN))/buf lint && $(abspath $(BIN))/buf format --diff --exit-code

# Everything a person or CI runs. Bare `make` prints this help.
VENV ?= .venv
BIN := $(VENV)/bin
PATHS := guard agents tests proto/build.py

.DEFAULT_GOAL := help
.PHONY: help deps venv proto demo test check lint format types imports buf bpf bpf-check bench

help: ## this list
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## (.*)/  make \1\t\2/' | expand -t 20

deps: ## Debian packages (as root or through sudo) and the kernels of the tests' virtual machines; nothing when they are there
	@sh config/deps.sh
	@sh config/kernels.sh

venv: $(VENV)/.stamp

$(VENV)/.stamp: pyproject.toml proto/build.py $(wildcard proto/guard/api/v1/*.proto)
	@test -x $(BIN)/python || python3 -m venv $(VENV)
	@$(BIN)/pip install -qq --disable-pip-version-check --editable '.[dev]'
	@touch $@

proto: venv ## generate guard/api from the .proto files
	@PATH="$(abspath $(BIN)):$$PATH" $(BIN)/python proto/build.py

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

bpf: ## compile the eBPF programs (clang 14); the objects are committed
	@sh agents/kernel/src/build.sh agents/kernel
	@sh agents/sentry/src/build.sh agents/sentry

bpf-check: ## the committed eBPF objects are what their source compiles to
	@scratch=$$(mktemp -d) && trap 'rm -rf "$$scratch"' EXIT && sh agents/kernel/src/build.sh "$$scratch" && \
	for each in media signalling; do \
		cmp "$$scratch/$$each.bpf.o" "agents/kernel/$$each.bpf.o" || \
		{ echo "agents/kernel/$$each.bpf.o does not come from its source: run make bpf" >&2; exit 1; }; \
	done && sh agents/sentry/src/build.sh "$$scratch" && for each in holders rogue rogue_calls shield shield_lsm; do \
		cmp "$$scratch/$$each.bpf" "agents/sentry/$$each.bpf" || \
		{ echo "agents/sentry/$$each.bpf does not come from its source: run make bpf" >&2; exit 1; }; \
	done

demo: ## sets everything up and shows the main job on a real call (files in .demo/)
	@$(MAKE) --no-print-directory deps venv
	@PYTHONPATH=. $(BIN)/python -m tests.lab.demo .demo

test: ## sets everything up and runs the tests (without root the privileged ones are skipped, loudly)
	@$(MAKE) --no-print-directory deps venv
	@$(BIN)/python -m pytest $(ARGS)

check: ## exactly what CI runs: format, lint, types, import contracts, buf, eBPF objects, tests
	@$(MAKE) --no-print-directory lint types imports buf bpf-check
	@$(MAKE) --no-print-directory test

bench: ## the benchmarks: a table here, the figures in bench.json
	@$(MAKE) --no-print-directory deps venv
	@PYTHONPATH=. $(BIN)/python tests/bench/run.py $(ARGS)

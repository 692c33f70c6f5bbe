# Two commands matter: `make demo` and `make test`. Each makes the environment if it is missing.
PYTHON ?= python3.11
VENV   ?= .venv
BIN    := $(VENV)/bin
OUT    ?= runs/demo

# With another process on the cores, OpenMP threads that spin make everything 10 to 30 times slower.
export OMP_WAIT_POLICY := PASSIVE
# Large tensors in large pages: fresh small ones cost a search more than its work on them.
export THP_MEM_ALLOC_ENABLE := 1
export HF_HUB_OFFLINE ?= 1
export TOKENIZERS_PARALLELISM := false

.PHONY: setup demo test lint bench clean help
.DEFAULT_GOAL := help

help:            ## list the targets
	@grep -E '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/'

setup: $(VENV)/.dev   ## make the development environment

$(BIN)/python:
	$(PYTHON) -m venv $(VENV)

$(VENV)/.demo: pyproject.toml | $(BIN)/python
	@echo "installing into $(VENV): a minute or two, torch is large"
	$(BIN)/python -m pip install --quiet --editable ".[demo]"
	@touch $@

$(VENV)/.dev: pyproject.toml | $(BIN)/python
	@echo "installing into $(VENV): a minute or two, torch is large"
	$(BIN)/python -m pip install --quiet --editable ".[dev]"
	@touch $@ $(VENV)/.demo

demo: $(VENV)/.demo   ## install, then run the whole journey on the embedded data, offline
	$(BIN)/genir demo --out $(OUT)

lint: $(VENV)/.dev   ## ruff, mypy, import contracts
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

test: lint   ## install, lint, type-check, test
	$(BIN)/python -m pytest -n 2

bench: $(VENV)/.dev   ## constrained decoding beside Hugging Face's
	$(BIN)/genir bench decode

clean:           ## remove the environment and everything that a run wrote
	rm -rf $(VENV) runs .pytest_cache .mypy_cache .ruff_cache

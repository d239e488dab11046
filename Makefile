# Needs Python 3.11 or newer and make; everything else is installed into .venv by pip.
PYTHON ?= python3
VENV := .venv
VLLM := .venv-vllm
BIN := $(VENV)/bin
SOURCES := $(shell find src tests examples scripts benchmarks -type f -not -path '*/__pycache__/*') pyproject.toml constraints.txt README.md

.PHONY: demo test test-vllm lint format slow clean

demo: $(VENV)/installed  ## fine-tune, generate, measure, report, on data of our own
	$(BIN)/steer run examples/hypotheses.yaml

test: $(VENV)/tested  ## lint, types and tests; again only when something has changed (make -B test: in any case)
	@echo "tests have passed for this state of the sources"

lint: $(VENV)/installed-dev
	$(BIN)/ruff check src tests scripts benchmarks
	$(BIN)/ruff format --check src tests scripts benchmarks
	$(BIN)/mypy

format: $(VENV)/installed-dev
	$(BIN)/ruff check --fix src tests scripts benchmarks
	$(BIN)/ruff format src tests scripts benchmarks

slow: $(VENV)/installed-dev  ## what takes long, or needs real data: STEER_DATA=folder STEER_MODELS=folder make slow
	$(BIN)/python -m pytest -m slow

test-vllm: $(VLLM)/installed  ## guided decoding in vLLM, in an environment of its own
	$(VLLM)/bin/python -m pytest tests/vllm

clean:
	rm -rf $(VENV) $(VLLM) dist .mypy_cache .pytest_cache .ruff_cache

$(VENV)/bin/python:
	$(PYTHON) -m venv $(VENV)

$(VENV)/installed: pyproject.toml constraints.txt | $(VENV)/bin/python
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable .
	@touch $@

$(VENV)/installed-dev: pyproject.toml constraints.txt | $(VENV)/bin/python
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[dev]'
	@touch $@ $(VENV)/installed

# vLLM asks for packages of sound and pictures; those that do not fit its torch keep transformers from being imported.
$(VLLM)/installed: pyproject.toml requirements-vllm.txt
	$(PYTHON) -m venv $(VLLM)
	$(VLLM)/bin/python -m pip install --quiet --requirement requirements-vllm.txt --editable .
	$(VLLM)/bin/python -m pip uninstall --quiet --yes torchaudio torchcodec torchvision
	@touch $@

$(VENV)/tested: $(VENV)/installed-dev $(SOURCES)
	$(MAKE) lint
	$(BIN)/python -m pytest -m "not slow"
	@touch $@

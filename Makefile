# The two commands of the README, and what CI runs. Needs Python 3.11 or newer; everything else
# is installed into .venv.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/installed

.PHONY: demo test lint sanitize clean

demo: $(VENV)/core
	$(BIN)/rag-tools demo

test: $(STAMP)
	$(BIN)/python -m pytest

lint: $(STAMP)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

# The native kernels without Python: memory, undefined behaviour, data races.
sanitize: build/check-address,undefined build/check-thread
	for check in $^; do echo $$check; $$check || exit 1; done

build/check-%: $(wildcard native/*)
	mkdir -p build
	$(CXX) -std=c++17 -O2 -g -Wall -Wextra -ffp-contract=off -pthread -fsanitize=$* \
		-fno-sanitize-recover=all $(filter-out native/module.cpp,$(wildcard native/*.cpp)) -o $@

# The package alone: what a user installs.
$(VENV)/core: pyproject.toml $(wildcard native/*)
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade pip
	$(BIN)/python -m pip install --quiet --editable .
	touch $@

# The package and what its tests and checks need.
$(STAMP): $(VENV)/core
	$(BIN)/python -m pip install --quiet --group dev
	touch $@

clean:
	rm -rf $(VENV) build dist

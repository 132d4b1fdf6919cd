# The two commands of the README, and what CI runs. Needs Python 3.11 or newer; everything else
# is installed into .venv.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/installed
NODE := build/node

.PHONY: demo test quick test-torch test-clients conformance processors processors-tools bundle docs \
	wheel-check lint sanitize clean

demo: $(VENV)/core
	$(BIN)/rag-tools demo

test: $(STAMP)
	$(BIN)/python -m pytest -n 2 --dist loadfile

# For the edit loop: without the tests that start programs and servers.
PROGRAMS := cli client client_exit clients contract demo disk docs_run durability evaluate \
	evaluate_citations examples examples_code_search examples_model examples_support faults hosts http \
	langchain llama_index mcp mcp_collections mcp_compact mcp_documents mcp_pages mcp_viewer program \
	progress readme release retrieval settings text_fragments train worker
quick: $(STAMP)
	$(BIN)/python -m pytest -n 2 --dist loadfile tests \
		$(foreach name,$(PROGRAMS),--ignore=$(wildcard tests/*/test_$(name).py))

# What needs the extra [torch], in an environment of its own: the core is tested without torch.
# TORCH names a build for your machine, such as torch==2.13.0.
TORCH ?= torch
test-torch: $(VENV)-torch/installed
	OMP_NUM_THREADS=1 $(VENV)-torch/bin/python -m pytest -n 2 --dist loadfile -m torch tests

$(VENV)-torch/installed: pyproject.toml
	$(PYTHON) -m venv $(VENV)-torch
	$(VENV)-torch/bin/python -m pip install --quiet --upgrade pip
	$(VENV)-torch/bin/python -m pip install --quiet "$(TORCH)"
	$(VENV)-torch/bin/python -m pip install --quiet --editable ".[torch]" --group dev
	touch $@

# Other people's MCP clients. langchain-mcp-adapters wants the first generation of the SDK, and gets
# it in an environment of its own.
test-clients: $(STAMP) $(VENV)-langchain/installed
	$(BIN)/python -m pytest tests/server/test_clients.py

$(VENV)-langchain/installed: Makefile
	$(PYTHON) -m venv $(VENV)-langchain
	$(VENV)-langchain/bin/python -m pip install --quiet "langchain-mcp-adapters>=0.3.2,<0.4"
	touch $@

# The official suites against the MCP server, and its bundle, checked.
conformance: $(STAMP) $(NODE)/installed
	$(BIN)/python -m pytest tests/conformance/suites.py

# The product on processors that this machine hasn't got, and the compiled code of every compiler. Needs
# Linux on x86-64, and Debian's packages PROCESSORS, which `make processors-tools` installs as root.
PROCESSORS := clang qemu-user g++-aarch64-linux-gnu debootstrap
processors: $(STAMP)
	$(BIN)/python tests/processors/aarch64.py build/aarch64
	$(BIN)/python -m pytest -n 2 tests/processors/inspection.py tests/processors/emulation.py

processors-tools:
	apt-get update -qq
	apt-get install -qq --no-install-recommends $(PROCESSORS)

# dist/rag-tools-VERSION.mcpb for desktop programs, dist/server.json for the MCP registry, which knows
# the server by a name made from the REPOSITORY: https://github.com/OWNER/NAME.
REPOSITORY ?=
bundle: $(STAMP) $(NODE)/installed
	$(BIN)/python .ci/release/bundle/build.py dist $(REPOSITORY)

# The wheels, built from the source distribution and used in clean Debians. Needs root and debootstrap.
wheel-check:
	PYTHON=$(PYTHON) .ci/release/check_wheels.sh

# The suites' programs, with the Node that they need.
$(NODE)/installed: tests/conformance/package.json tests/conformance/package-lock.json
	mkdir -p $(NODE)
	cp $^ $(NODE)
	npm ci --prefix $(NODE) --no-audit --no-fund --loglevel=error
	touch $@

# Accept how the MCP tools look to a model now: see the diff of tests/toolsnaps.
toolsnaps: $(STAMP)
	UPDATE_TOOLSNAPS=1 $(BIN)/python -m pytest -q tests/server/test_toolsnaps.py

lint: $(STAMP)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/mypy --platform win32 --cache-dir .mypy_cache/win32
	$(BIN)/mypy --platform darwin --cache-dir .mypy_cache/darwin

# The documentation as a web site in build/site; a broken link is an error.
PAGES := '*.md' '*.png' '*.svg' LICENSE '.github/workflows/*.yml' 'rag_tools/*.py' 'examples/*.py' \
	':!examples/corpus' ':!examples/manuals' ':!rag_tools/sample' ':!tests' ':!.github/*.md'
docs: $(VENV)-docs/installed
	rm -rf build/docs
	mkdir -p build/docs
	git ls-files -z --cached --others --exclude-standard -- $(PAGES) | tar -c --null -T - | tar -x -C build/docs
	NO_MKDOCS_2_WARNING=1 $(VENV)-docs/bin/mkdocs build --strict

$(VENV)-docs/installed: pyproject.toml
	$(PYTHON) -m venv $(VENV)-docs
	$(VENV)-docs/bin/python -m pip install --quiet --upgrade pip
	$(VENV)-docs/bin/python -m pip install --quiet --group docs
	touch $@

# The native kernels without Python: memory, undefined behaviour, data races.
sanitize: build/check-address,undefined build/check-thread
	build/check-address,undefined 30
	build/check-thread 4

build/check-%: $(wildcard rag_tools/index/native/*)
	mkdir -p build
	$(CXX) -std=c++17 -O2 -g -Wall -Wextra -ffp-contract=off -pthread -fsanitize=$* -DSINGLE_THREADED=2e7 \
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
	rm -rf $(VENV) $(VENV)-docs $(VENV)-torch $(VENV)-langchain build dist

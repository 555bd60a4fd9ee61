# make train: set up and train on the embedded data set; make check: lint and the fast tests; make test: all tests;
# make mutants: whether the tests notice small changes of the code, which takes a quarter of an hour or more.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
HEADERS := libopencv-dev libturbojpeg0-dev pkg-config g++ python3-dev
# A file of tests stays in one process, with what it builds once. One thread each: the processes share the cores.
PYTEST = OMP_NUM_THREADS=1 $(BIN)/python -m pytest -q -n $(shell nproc) --dist loadfile
SUDO := $(shell [ "$$(id -u)" = 0 ] || echo sudo)

.PHONY: setup train check test mutants lint browser clean

setup: $(VENV)/installed

# FFCV is compiled on installation and needs the headers; a machine that has them is left as it is.
$(VENV)/installed: setup.py
	@if ! pkg-config --exists opencv4 libturbojpeg 2>/dev/null || ! command -v g++ >/dev/null || \
	  ! [ -e "$$($(PYTHON) -c 'import sysconfig; print(sysconfig.get_path("include"))')/Python.h" ]; then \
	  $(SUDO) apt-get update -q && \
	  DEBIAN_FRONTEND=noninteractive $(SUDO) apt-get install -y -q --no-install-recommends $(HEADERS); fi
	@$(PYTHON) -m venv $(VENV) 2>/dev/null || { \
	  $(SUDO) apt-get update -q && $(SUDO) apt-get install -y -q python3-venv && $(PYTHON) -m venv $(VENV); }
	$(BIN)/pip install -q --disable-pip-version-check --upgrade pip setuptools wheel
	$(BIN)/pip install -q --disable-pip-version-check -e ".[test]"
	@echo "compiling the kernels for this machine"
	@$(BIN)/python -c "from loaders.host.executor import compile_kernel as of; of(1), of(2)"
	@$(BIN)/python -c "from engine.kernels.native import library; library()" 2>&1 | tail -n 1
	touch $@

train: setup
	$(BIN)/python -m engine.train --recipe quickstart

lint: setup
	$(BIN)/ruff check .

check: lint
	$(PYTEST) -m "not slow"

test: lint browser
	$(PYTEST) -m "not alone"
	$(BIN)/python -m pytest -q -m alone

# At most so many changes of each file; a large number tries all, in hours.
SAMPLE ?= 40

mutants: setup
	$(BIN)/pip install -q --disable-pip-version-check -e ".[mutants]"
	OMP_NUM_THREADS=1 $(BIN)/python -m benchmarks.mutants --sample $(SAMPLE) --json benchmarks/results/mutants.json

# The tests of the pages drive it; without it they are skipped.
browser:
	@command -v chromium >/dev/null || { $(SUDO) apt-get update -q && \
	  DEBIAN_FRONTEND=noninteractive $(SUDO) apt-get install -y -q --no-install-recommends chromium; } || \
	  echo "no chromium: the tests of the pages are skipped"

clean:
	rm -rf $(VENV) build dist *.egg-info runs

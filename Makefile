# Everything runs in .venv, which `make setup` builds from constraints.txt with nothing but Python 3.11+.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
export MPLBACKEND := Agg

.PHONY: setup demo test check fmt bench docs clean

setup: $(READY)  ## the virtual environment, with the tested versions

$(READY): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; v = sys.version_info[:2]; sys.exit(0 if (3, 11) <= v <= (3, 13) else "perturbkit needs Python 3.11 to 3.13, found %d.%d; name another one: make setup PYTHON=python3.12" % v)'
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check 'pip>=25.1'
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt torch==2.13.0
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt --group dev -e .
	@touch $@

demo: setup  ## simulated screen -> fit -> predict -> explain -> design -> report
	$(BIN)/perturbkit demo -o runs/demo --force

# one thread a worker: the workers already share the cores
test: setup  ## the whole suite, on all cores
	OMP_NUM_THREADS=1 OPENBLAS_NUM_THREADS=1 NUMBA_NUM_THREADS=1 $(BIN)/python -m pytest -n auto

check: setup  ## style, types, layers
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/pyright
	$(BIN)/lint-imports --no-cache

fmt: setup
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

bench: setup  ## every benchmark; keeps what they print in benchmarks/results
	$(BIN)/python -m benchmarks

docs: setup  ## the catalogue tables of docs/, from the cards
	$(BIN)/python -m docs.build

clean:
	rm -rf $(VENV) runs .ruff_cache build dist

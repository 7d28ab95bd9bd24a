# Two commands do all the set-up: `make report` and `make test`.
#
# The default installs PyTorch from PyPI as it comes. Without a GPU, PyTorch's own CPU builds save
# about 5 GB: pass the index that PyTorch's "get started" page names for "CPU" as TORCH_INDEX,
#   make report TORCH_INDEX=<that address>

PYTHON ?= python3
VENV ?= .venv
TORCH_INDEX ?=
BIN := $(VENV)/bin
# The project's own files: what a user saves beside them is not ours to judge.
OWN := robustlab attacks reports tests README.md

.PHONY: report test everyday bench lint clean

report: $(VENV)/.installed
	$(BIN)/robustlab run quick

test: $(VENV)/.test-installed lint
	$(BIN)/python -m pytest -q -m "" --benchmark-disable

everyday: $(VENV)/.test-installed
	$(BIN)/python -m pytest -q

bench: $(VENV)/.test-installed
	$(BIN)/python -m pip install -q -e '.[bench]'
	$(BIN)/python -m pytest -q -n 0 -m benchmark --benchmark-only -s tests/benchmarks

lint: $(VENV)/.test-installed
	$(BIN)/ruff format --check $(OWN)
	$(BIN)/ruff check $(OWN)
	$(BIN)/mypy

$(VENV)/.installed: pyproject.toml
	@command -v $(PYTHON) >/dev/null || { echo "no $(PYTHON) here; pass PYTHON=python3.12"; exit 1; }
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
	  echo "robustlab needs Python 3.11 or newer; pass PYTHON=python3.12"; exit 1; }
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
ifneq ($(TORCH_INDEX),)
	PIP_INDEX_URL=$(TORCH_INDEX) $(BIN)/python -m pip install -q torch torchvision
endif
	$(BIN)/python -m pip install -q -e .
	@touch $@

$(VENV)/.test-installed: $(VENV)/.installed
	$(BIN)/python -m pip install -q -e '.[test]'
	@touch $@

clean:
	rm -rf $(VENV) build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis

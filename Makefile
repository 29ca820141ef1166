PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
LOWEST := .venv-lowest

.PHONY: quickstart test test-lowest lint docs clean

quickstart: $(VENV)/.installed
	$(BIN)/rank-search search configs/quickstart.yaml --budget macs=0.07 --output runs/quickstart-network
	$(BIN)/rank-search bench rankbench_short
	$(BIN)/rank-search bench configs/quickstart.yaml

test: $(VENV)/.installed-dev
	$(BIN)/python -m pytest -n 2 --dist loadfile

# The tests with every dependency at the lowest version that pyproject.toml allows.
test-lowest: $(LOWEST)/.installed-dev
	$(LOWEST)/bin/python -m pytest

lint: $(VENV)/.installed-dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/vermin -q -t=3.10- --violations rank_search searchers baselines configs examples

# The site, into site/; a broken link is an error.
docs: $(VENV)/.installed-dev
	NO_MKDOCS_2_WARNING=1 $(BIN)/python -m mkdocs build --strict

$(VENV)/bin/python:
	$(PYTHON) -m venv $(VENV)

$(VENV)/.installed: pyproject.toml | $(VENV)/bin/python
	$(BIN)/python -m pip install -q -e .
	touch $@

$(VENV)/.installed-dev: pyproject.toml | $(VENV)/bin/python
	$(BIN)/python -m pip install -q -e ".[dev]"
	touch $@ $(VENV)/.installed

$(LOWEST)/.installed-dev: pyproject.toml
	$(PYTHON) -m venv --clear $(LOWEST)
	$(PYTHON) .ci/lowest.py > $(LOWEST)/constraints.txt
	$(LOWEST)/bin/python -m pip install -q -e ".[dev]" -c $(LOWEST)/constraints.txt
	touch $@

clean:
	rm -rf $(VENV) $(LOWEST) build dist site *.egg-info .pytest_cache .mypy_cache .ruff_cache

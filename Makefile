# Two commands do everything on a machine that has only Python 3.11: `make demo` and `make test`.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin

$(VENV)/.installed: pyproject.toml constraints.txt $(wildcard agents/routing/kernel/*.py)
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e ".[dev]"
	touch $@

.PHONY: install demo up test lint unit long bench clean
install: $(VENV)/.installed

demo: install
	$(BIN)/turnout demo

up: install
	$(BIN)/turnout up --simulate

test: install lint
	$(BIN)/python -m pytest

lint: install
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

unit: install
	$(BIN)/python -m pytest tests/unit tests/property tests/golden

# Ten thousand generated cases of every fold in place of a hundred, and a thousand streams that break off.
long: install
	$(BIN)/python -m pytest tests/property tests/integration/test_stream_cuts.py --cases 10000 --stream-cuts 1000

bench: install
	$(BIN)/python -m infra.bench.pipeline

clean:
	rm -rf $(VENV) build *.egg-info data agents/routing/kernel/*.so

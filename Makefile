# Everything runs from .venv, which `make setup` fills from the pinned requirements; the other targets do it first when it is missing.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed

.PHONY: setup test lint demo bench requirements clean

setup: $(STAMP)

$(STAMP): requirements/dev.txt pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements/dev.txt
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e .
	touch $(STAMP)

test: setup
	$(BIN)/python -m pytest -n 2 --dist loadgroup $(ARGS)

lint: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

# What comes after `--` goes to the demo: make demo ARGS="--json"
demo: setup
	$(BIN)/genrelay demo $(ARGS)

bench: setup
	$(BIN)/python -m tests.bench $(ARGS)

# Pins every dependency with its hashes, and names no index.
requirements:
	uv pip compile --quiet --generate-hashes --no-emit-index-url --no-header --python-version 3.11 --universal pyproject.toml -o requirements/runtime.txt
	uv pip compile --quiet --generate-hashes --no-emit-index-url --no-header --python-version 3.11 --universal --extra otel -c requirements/runtime.txt pyproject.toml -o requirements/image.txt
	uv pip compile --quiet --generate-hashes --no-emit-index-url --no-header --python-version 3.11 --universal --extra dev -c requirements/runtime.txt pyproject.toml -o requirements/dev.txt
	printf 'hatchling\neditables\n' | uv pip compile --quiet --generate-hashes --no-emit-index-url --no-header --python-version 3.11 --universal -c requirements/dev.txt - -o requirements/build.txt

clean:
	rm -rf $(VENV) demo-output bench-output

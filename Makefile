# Two commands are all a stranger needs: `make demo` and `make test`.
PYTHON ?= python3
BIN := .venv/bin
JOBS ?= auto

.PHONY: demo test lint types imports unit docs clean

demo: .venv/ready
	@$(BIN)/python demo/run.py

test: lint types imports unit

lint: .venv/ready
	@$(BIN)/ruff check .

types: .venv/ready
	@$(BIN)/mypy

imports: .venv/ready
	@$(BIN)/lint-imports

unit: .venv/llama-ready
	@$(BIN)/pytest -n $(JOBS) --cov --cov-report=term --timeout=600

docs: .venv/ready
	@$(BIN)/pip install -q --disable-pip-version-check -e '.[docs]' -c constraints.txt
	@$(BIN)/mkdocs build --strict

.venv/ready: pyproject.toml constraints.txt
	@echo "Installing into .venv (a few minutes) ..."
	@test -x $(BIN)/python || $(PYTHON) -m venv .venv
	@$(BIN)/pip install -q --disable-pip-version-check -e '.[dev]' -c constraints.txt
	@$(BIN)/pip install -q --disable-pip-version-check --no-deps tf-keras -c constraints.txt  # it asks for a second TensorFlow
	@touch $@

.venv/llama-ready: .venv/ready scripts/llama_runtime.py  # an optional runtime: without it some tests are skipped
	@$(BIN)/python scripts/llama_runtime.py
	@touch $@

clean:
	rm -rf .venv build site .pytest_cache .mypy_cache .ruff_cache .coverage

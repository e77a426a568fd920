# Everything here works from nothing but Python >= 3.10, pip and make.
PYTHON ?= python3
BIN := .venv/bin

.PHONY: demo test lint bench docs format clean

demo: .venv/.installed
	$(BIN)/ctsigprop demo --out demo

# One thread for each worker; what states shapes is run again with every shape checked.
SHAPES := ctsigprop,beartype.beartype(conf=beartype.BeartypeConf(is_pep484_tower=True))
SHAPED := tests/test_contracts.py tests/test_field.py tests/test_neurons.py tests/rules/test_contrasts.py tests/rules/test_update.py
test: export OMP_NUM_THREADS = 1
test: .venv/.installed lint
	$(BIN)/python -m pytest -q -n auto --dist worksteal --durations=10
	$(BIN)/python -m pytest -q -n auto --dist worksteal "--jaxtyping-packages=$(SHAPES)" $(SHAPED)

lint: .venv/.installed
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

bench: .venv/.installed
	$(BIN)/python benchmarks/signals.py
	$(BIN)/python benchmarks/factored.py
	$(BIN)/python benchmarks/compiled.py
	$(BIN)/python benchmarks/sweep.py
	$(BIN)/python benchmarks/recording.py --steps 20000
	$(BIN)/python benchmarks/stdp.py --repeats 3
	if [ -n "$$CTSIGPROP_DATA" ]; then $(BIN)/python benchmarks/mnist.py; fi
	@echo 'tables and plots: benchmarks/results/'

# Draws every figure anew and runs notebooks where they or the sources changed; a broken link, an unknown name or a raw
# tag fails it. The pages are in site/.
docs: export NO_MKDOCS_2_WARNING = 1
docs: .venv/.installed
	$(BIN)/python -m pip install -q -c constraints.txt -e '.[docs]'
	$(BIN)/python -m mkdocs build --strict

format: .venv/.installed
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

# torch goes first: with its pinned version in place no dependency can pull another build of it.
.venv/.installed: pyproject.toml constraints.txt
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install -q -c constraints.txt torch
	$(BIN)/python -m pip install -q -c constraints.txt -e '.[dev]'
	touch $@

clean:
	rm -rf .venv demo site docs/img build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache

# Two commands do everything on a machine with only Python: `make demo` and `make test`.
# `make check` is the part of `make test` to run after each change, less than a minute on two cores: it trains nothing.

PYTHON ?= python3
VENV ?= .venv
BIN = $(VENV)/bin
INSTALLED = $(VENV)/installed
CHECKED = tests/test_*.py $(addprefix tests/,contract priors likelihoods distributions networks guides losses models data)
BENCHMARKS = step rivals pythae laplace laplace_samples inference growth profiles

.PHONY: demo install test check slow lint format doctest bench tutorials docs dist clean

demo: $(INSTALLED)
	$(BIN)/pyro-vaes train vae --data digits --latent-dim 2 --hidden 128,128 --epochs 100 --patience 10 \
		--out report/demo-model --overwrite
	$(BIN)/pyro-vaes compare --model report/demo-model --epochs 60 --seeds 3 --test-size 100 \
		--guides mean-field,full-covariance,inverse-autoregressive-flow,recursive-mixture,laplace \
		--out report/demo --overwrite

install: $(INSTALLED)

test: lint
	$(BIN)/pytest -n auto

check: lint
	$(BIN)/pytest -n auto -q -m "not slow" -k "not train" $(CHECKED)

slow: $(INSTALLED)
	$(BIN)/pytest -m slow

lint: $(INSTALLED)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

format: $(INSTALLED)
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

doctest: $(INSTALLED)
	$(BIN)/pytest pyro_vaes

bench: $(INSTALLED)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[bench]'
	for name in $(BENCHMARKS); do $(BIN)/python -m benchmarks $$name || exit; done

tutorials: $(INSTALLED)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[tutorials]'
	$(BIN)/python tutorials/run.py

docs: $(VENV)/docs
	$(BIN)/python docs/tables.py
	$(BIN)/sphinx-build -q -n -W --keep-going -c docs . build/docs
	@echo "Open build/docs/index.html."

dist: $(INSTALLED)
	rm -rf dist
	$(BIN)/python -m build
	$(BIN)/twine check --strict dist/*

clean:
	rm -rf $(VENV) report runs build dist *.egg-info .pytest_cache .ruff_cache .mypy_cache .import_linter_cache

$(INSTALLED): setup.cfg pyproject.toml
	$(PYTHON) -c 'import sys; assert sys.version_info >= (3, 11), "Python 3.11 or newer is needed: make PYTHON=python3.13"'
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[vision,dev]'
	touch $@

$(VENV)/docs: $(INSTALLED)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[docs]'
	touch $@

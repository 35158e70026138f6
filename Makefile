# The two commands of a newcomer: make demo, make test. Both make .venv first if it is not there.
PYTHON ?= python3
BIN := .venv/bin

.PHONY: demo test other-cpu lint docs processes browser kills odd-input scenarios clean help

help:  ## these lines
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed 's/:.*## /\t/'

demo: .venv/installed  ## four methods on digits, trained, evaluated, compared
	$(BIN)/python -m harness -m method=atjem,jem,at,generative launcher=processes
	$(BIN)/python -m harness report
	@$(BIN)/python benchmarks/demo_range.py

test: .venv/installed  ## the tests, but for the slow ones that follow
	$(BIN)/python -m pytest

other-cpu: .venv/installed  ## the tests that compare numbers, as on a CPU with AVX2 and no more
	ATEN_CPU_CAPABILITY=avx2 ONEDNN_MAX_CPU_ISA=AVX2 $(BIN)/python -m pytest --ignore=tests/methods/test_recipes_take_two_steps.py \
		tests/core tests/methods tests/models tests/training tests/evaluation

lint: .venv/installed  ## style and types
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/pyright

docs: .venv/installed  ## the documentation as a site, in build/docs
	$(BIN)/python -m sphinx --quiet --fail-on-warning --keep-going docs build/docs

processes: .venv/installed  ## tests of several processes that work on one run
	$(BIN)/python -m pytest tests/processes

browser: .venv/installed  ## tests of pages in a headless Chromium, where there is one
	$(BIN)/python -m pytest tests/browser

kills: .venv/installed  ## runs killed at random moments: N=200 SEED=1 of them, or the few of a test
	$(if $(N),PYTHONPATH=tests/helpers $(BIN)/python tests/kills $(N) $(SEED),$(BIN)/python -m pytest tests/kills)

odd-input: .venv/installed  ## N=5000 SEED=1 altered configs, and odd command lines: refused in one message, or they work
	$(BIN)/python tests/helpers/odd_input.py $(or $(N),5000) $(or $(SEED),1)

scenarios: .venv/installed  ## what a cluster does to jobs, on a SLURM of this machine's own: as root, with apt
	PYTHONPATH=tests/helpers $(BIN)/python tests/slurm

clean:  ## remove the environment; runs are kept
	rm -rf .venv

.venv/installed: pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "Python 3.11 or newer is needed: make PYTHON=python3.12 …"; exit 1; }
	$(PYTHON) -m venv .venv
	$(BIN)/pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[dev]'
	@touch $@

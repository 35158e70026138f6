# The two commands of a newcomer: make demo, make test. Both make .venv first if it is not there.
PYTHON ?= python3
BIN := .venv/bin

.PHONY: demo test lint docs scenarios clean help

help:  ## these lines
	@grep -E '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed 's/:.*## /\t/'

demo: .venv/installed  ## four methods on digits, trained, evaluated, compared
	$(BIN)/python -m harness -m method=atjem,jem,at,generative launcher=processes
	$(BIN)/python -m harness report

test: .venv/installed  ## the tests
	$(BIN)/python -m pytest

lint: .venv/installed  ## style and types
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/pyright

docs: .venv/installed  ## the documentation as a site, in build/docs
	$(BIN)/python -m sphinx --quiet --fail-on-warning --keep-going docs build/docs

scenarios: .venv/installed  ## what a cluster does to jobs, on a SLURM of this machine's own: as root, with apt
	PYTHONPATH=tests $(BIN)/python tests/slurm

clean:  ## remove the environment; runs are kept
	rm -rf .venv

.venv/installed: pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "Python 3.11 or newer is needed: make PYTHON=python3.12 …"; exit 1; }
	$(PYTHON) -m venv .venv
	$(BIN)/pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[dev]'
	@touch $@

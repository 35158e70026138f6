# The two commands of a newcomer: make demo, make test. Both make .venv first if it is not there.
PYTHON ?= python3
BIN := .venv/bin
LIGHT := tests/core tests/models tests/launch/test_jobs_are_submitted_once.py tests/runs/test_records_are_typed.py \
	tests/evaluation/test_fidelity_is_torch_fidelitys.py tests/evaluation/test_robust_accuracy_is_autoattacks.py \
	tests/tracking/test_mlflow_gets_everything_once.py tests/reports/test_leaderboard_page.py tests/cli/test_python_api.py

.PHONY: demo test other-cpu lowest lint docs processes browser kills screenshots odd-input scenarios clean help

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

lowest:  ## light tests with the oldest versions of dependencies that pyproject.toml allows, in build/lowest
	$(PYTHON) -m venv build/lowest
	build/lowest/bin/pip install --quiet --disable-pip-version-check -c constraints-lowest.txt -e '.[search]' \
		pytest pytest-xdist hypothesis Flask-WTF torchmetrics
	build/lowest/bin/python -m pytest $(LIGHT)

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

screenshots: .venv/installed  ## what people see, in build/screenshots: terminals of two sizes, pages on a desktop and a phone
	PYTHONPATH=tests/helpers $(BIN)/python docs/screenshots.py $(ONLY)

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

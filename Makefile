# `make conformance` runs the cases on the embedded lab; `make test` runs the harness's own tests.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin

.PHONY: conformance stacks check test test-long mutants fewer-calls fuzz attack soak lint bench screenshots clean

conformance: $(VENV)/installed
	@$(BIN)/tcp-conformance run $(ARGS)

# Real stacks beside the kernel's, as targets: builds those whose toolchain is there, names what the others lack.
stacks: $(VENV)/installed
	@$(BIN)/tcp-conformance stacks --build --install

# The fast loop, under a minute: linters, types, and the tests that need no process, no lab and no build.
check: lint
	@$(BIN)/pytest tests/unit -q -n 2 --dist worksteal --hypothesis-profile=quick $(ARGS)

# Most tests wait for a run of their own to end: three at once take little more of two cores than one.
test: $(VENV)/installed-dev $(VENV)/browser stacks
	@$(BIN)/pytest tests -ra -n 3 --dist loadfile --no-loadscope-reorder -m "not long" $(ARGS)

# An hour and more: what takes long, fifty times as many random examples, and all mutants.
test-long: $(VENV)/installed-dev stacks
	@$(BIN)/pytest tests -ra -n 2 --dist loadfile -m long
	@$(BIN)/pytest tests/unit tests/fuzz -ra -n 2 --dist worksteal --hypothesis-profile=long
	@$(BIN)/python -m tests.mutants

# Real targets that each break one documented rule: does a case notice? reports/latest/mutants.json, and a page of the report.
mutants: $(VENV)/installed-dev
	@$(BIN)/python -m tests.mutants $(ARGS)

# Targets with fewer calls than ours: the quick tier on smoltcp with each call taken away in turn. No new violation may come.
fewer-calls: $(VENV)/installed-dev
	@$(BIN)/python -m tests.fewer_calls $(ARGS)

# Every reader of foreign octets, a minute each: what one does not stand stays in tests/fuzz/corpus as a seed.
fuzz: $(VENV)/installed-dev
	@$(BIN)/python -m tests.fuzz $(ARGS)

# A quarter of an hour: floods, liars, signals and kills at random moments, in namespaces of its own. Prints what came of each.
attack: $(VENV)/installed-dev
	@$(BIN)/python -m tests.attack $(ARGS)

lint: $(VENV)/installed-dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-cache

bench: $(VENV)/installed-dev
	@$(BIN)/python -m tests.bench $(ARGS)

# More than an hour: all cases again and again, on busy cores and bad wires.
soak: $(VENV)/installed-dev
	@$(BIN)/python -m tests.soak $(ARGS)

$(VENV)/bin/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
	    || { echo "Python 3.11 or newer is needed: make PYTHON=/path/to/python3.11 ..." >&2; exit 1; }
	@$(PYTHON) -m venv $(VENV) \
	    || { rm -rf $(VENV); echo "Python's venv module is needed: sudo apt-get install python3-venv" >&2; exit 1; }

$(VENV)/installed: pyproject.toml | $(VENV)/bin/python
	@echo "installing into $(VENV) ..."
	@$(BIN)/pip install --quiet --disable-pip-version-check --editable '.[workers]'
	@touch $@

$(VENV)/installed-dev: pyproject.toml | $(VENV)/bin/python
	@echo "installing into $(VENV) ..."
	@$(BIN)/pip install --quiet --disable-pip-version-check --editable '.[dev]'
	@touch $@ $(VENV)/installed

# The tests of the pages want a real browser; without one they are skipped, and say so.
$(VENV)/browser: | $(VENV)/bin/python
	@command -v chromium >/dev/null || test "$$(id -u)" -ne 0 || ! command -v apt-get >/dev/null \
	    || { echo "installing chromium ..."; apt-get update -qq && apt-get install -qq -y --no-install-recommends chromium; } \
	        >$(VENV)/browser.log 2>&1 || echo "chromium could not be installed: see $(VENV)/browser.log" >&2
	@touch $@

screenshots: $(VENV)/installed-dev
	@$(BIN)/python -m tests.browser.screenshots

clean:
	rm -rf $(VENV) reports/latest build dist

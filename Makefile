# Every way in: `make` lists them. Works from any clone path, as root and as a normal user; nothing is done twice.

PYTHON ?= python3
ARGS ?=
FUZZ_SECONDS ?= 60

VENV := .venv
BIN := $(VENV)/bin
# A normal user's PATH has no sbin on Debian, and nginx and ip live there.
export PATH := $(PATH):/usr/sbin:/sbin
export PIP_DISABLE_PIP_VERSION_CHECK := 1

# Another interpreter, or the clone moved: another stamp, so that .venv is made anew.
WHICH := $(shell $(PYTHON) -c 'import os, sys, zlib; print(*sys.version_info[:3], zlib.crc32(repr((os.getcwd(), sys.base_prefix)).encode()), sep=".")' 2>/dev/null)
INSTALLED := $(VENV)/.installed-$(WHICH)
DEVELOPED := $(VENV)/.developed-$(WHICH)
FUZZING := $(VENV)/.fuzzing-$(WHICH)
CORPUS := $(VENV)/corpus

PURE := nodebalancer/model.py,nodebalancer/fields.py,nodebalancer/changes.py,nodebalancer/errors.py,nodebalancer/balancing/*,nodebalancer/wire/*,nodebalancer/settings/*

.DEFAULT_GOAL := help
.NOTPARALLEL:
.PHONY: help demo test check proof fuzz bench dist docs clean lint typecheck

help: ## list what can be made
	@sed -n 's/^\([a-z]*\):.*## /\1\t/p' Makefile | while IFS="$$(printf '\t')" read -r target what; do printf 'make %-10s %s\n' "$$target" "$$what"; done
	@echo
	@echo 'PYTHON=python3.12 chooses the interpreter (now: $(PYTHON)); ARGS="…" is passed on by proof and bench.'

demo: $(INSTALLED) ## run a balancer before three small web nodes on this machine, without any file
	$(BIN)/twistd -n --pidfile= nodebalancer --demo

test: $(DEVELOPED) ## run all tests with branch coverage
	@.ci/system-packages nginx haproxy redis-server redis-benchmark redis-cli curl wrk ip openssl ssh testssl apache2 promtool logrotate systemd-analyze keepalived man
	$(BIN)/pytest --cov --cov-report=term-missing:skip-covered --cov-fail-under=95
	@echo 'Coverage of the pure rooms:'
	@$(BIN)/coverage report --include='$(PURE)' --fail-under=100

check: lint typecheck docs dist test ## all that CI runs; the tests come last

lint: $(DEVELOPED) ## style, format, the laws of imports, news fragments
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/lint-imports
	$(BIN)/towncrier build --draft --version next >/dev/null

typecheck: $(DEVELOPED) ## mypy, strict
	$(BIN)/mypy

proof: $(DEVELOPED) ## the long and loaded tests; their output goes into the closing note of a change
	@.ci/system-packages nginx redis-server redis-benchmark redis-cli curl wrk ip slowhttptest keepalived
	$(BIN)/pytest -m proof -s $(ARGS)

fuzz: $(FUZZING) ## look for inputs that break a parser's promises; FUZZ_SECONDS=600 for longer than a minute each
	@mkdir -p $(CORPUS)/request $(CORPUS)/response
	nice $(BIN)/python -m tests.fuzz.fuzz_request -max_total_time=$(FUZZ_SECONDS) -max_len=600 -artifact_prefix=$(CORPUS)/ $(CORPUS)/request
	nice $(BIN)/python -m tests.fuzz.fuzz_response -max_total_time=$(FUZZ_SECONDS) -max_len=600 -artifact_prefix=$(CORPUS)/ $(CORPUS)/response

bench: $(DEVELOPED) ## side by side with HAProxy and nginx; ARGS=--quick for a short look
	@.ci/system-packages nginx /usr/lib/nginx/modules/ngx_stream_module.so haproxy curl wrk
	$(BIN)/python -m benchmarks $(ARGS)

dist: $(DEVELOPED) ## build the wheel into dist/
	rm -rf build dist
	$(BIN)/pip --quiet wheel --no-deps --wheel-dir dist .
	@ls dist/*.whl

docs: $(DEVELOPED) ## build the docs into docs/_build/html and docs/_build/man; a warning is an error
	$(BIN)/sphinx-build -W --keep-going -q -b html docs docs/_build/html
	$(BIN)/sphinx-build -W --keep-going -q -b man docs docs/_build/man

clean: ## remove what was made here, .venv too
	rm -rf $(VENV) build dist docs/_build .coverage .coverage.* .mypy_cache .ruff_cache .pytest_cache .hypothesis
	rm -rf .import_linter_cache *.egg-info twisted/plugins/dropin.cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

# A plain editable install hides the plugin: its finder knows packages, and twisted.plugins is none of ours.
$(INSTALLED): setup.cfg pyproject.toml requirements-dev.txt
	.ci/venv '$(PYTHON)' $(VENV)
	$(BIN)/pip --quiet install --constraint requirements-dev.txt --config-settings editable_mode=compat --editable .
	@touch $@

$(DEVELOPED): $(INSTALLED)
	$(BIN)/pip --quiet install --requirement requirements-dev.txt
	@touch $@

# Not among the locked tools: large, needed by nobody else, and each Python has another version.
$(FUZZING): $(DEVELOPED)
	$(BIN)/pip --quiet install --constraint requirements-dev.txt --config-settings editable_mode=compat --editable '.[fuzz]'
	@touch $@

# Condor Cloud: `make run` starts it, `make test` tests it; both install what they need.

PY := .venv/bin/python
RUN_EXTRAS := client
ALL_EXTRAS := client,test,dev
CHECKED := gateway execnode tests tools
SCRIPTS := tools/setup tools/clients gateway/embedded/enter.sh $(wildcard gateway/embedded/guest/rootfs/usr/lib/condor-cloud/*) $(wildcard gateway/embedded/guest/rootfs/usr/bin/*) gateway/embedded/guest/rootfs/etc/udhcpc/script
# Asked for at each command, because setup puts it there; empty where it could not be had.
export BOTOCORE_PROTOCOL_CASES = $(shell cd .venv/botocore-protocols 2>/dev/null && pwd -P)
ENDPOINT ?= $(AWS_ENDPOINT_URL)

.DEFAULT_GOAL := help
.PHONY: quick-unit quick-wire help run env cloud-image setup test test-fast test-pool compat check lint types contracts format docs bench dist clean

##@ Use
run: ## start the embedded pool and the gateway in the foreground
	@tools/setup $(RUN_EXTRAS)
	@exec .venv/bin/condor-cloud run --die-with-parent --env-command "make -s env"

env: ## print what points an EC2 client at it: eval "$(make -s env)"
	@.venv/bin/condor-cloud env && printf 'export PATH=%s:"$$PATH"\n' "'$(CURDIR)/.venv/bin'"

cloud-image: setup ## build a Debian 12 image with cloud-init; its last line is the file's name
	@$(PY) -m tools.cloud_image

##@ Work on it
setup: ## install everything that the other targets need
	@tools/setup $(ALL_EXTRAS)

check: setup ## the commit gate: style, types, import contracts, quick tests, two at a time
	@$(MAKE) -s -j2 quick-unit quick-wire lint types contracts

quick-unit:
	@$(PY) -m pytest -q tests/unit tests/contract

quick-wire:
	@$(PY) -m pytest -q tests/wire

test: setup ## every test: also on a private pool with real guests
	@$(PY) -m tools.all_tests

test-fast: setup ## the tests that need no pool
	@$(PY) -m pytest tests/unit tests/wire tests/contract

test-pool: setup ## the tests on a private pool
	@$(PY) -m pytest tests/pool tests/vm tests/compat

compat: setup ## stock clients against any endpoint: make compat ENDPOINT=http://...
	@EC2_ENDPOINT=$(ENDPOINT) $(PY) -m pytest tests/compat

lint: ## ruff, codespell, shellcheck, generated pages
	@$(PY) -m ruff check $(CHECKED)
	@$(PY) -m ruff format --check $(CHECKED)
	@$(PY) -m codespell_lib
	@shellcheck -s sh $(SCRIPTS)
	@$(PY) -m tools.reference --check

types: ## mypy, strict
	@$(PY) -m mypy gateway execnode tools

contracts: ## which part may import which
	@.venv/bin/lint-imports

format: ## put the code into its form
	@$(PY) -m ruff format $(CHECKED)
	@$(PY) -m ruff check --fix $(CHECKED)

docs: ## make the generated reference pages anew
	@$(PY) -m tools.reference

bench: setup ## measure, beside a yardstick, into bench/*.json; a part: ONLY="reboots metadata"
	@$(PY) -m tests.bench $(ONLY)

dist: setup ## build both wheels into dist/; the gateway's has the node's in it
	@rm -rf build dist *.egg-info
	@$(PY) -m pip wheel -q --no-deps --no-build-isolation -w dist . && cp .build/*.whl dist/

clean: ## remove what was built here; the state in /var/lib/condor-cloud stays
	@rm -rf .venv .build build dist *.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis

help: ## this list
	@awk 'BEGIN {FS = ":.*## "} /^##@/ {printf "\n%s\n", substr($$0, 5)} /^[a-z-]+:.*## / {printf "  %-12s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

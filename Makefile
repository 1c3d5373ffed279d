# The commands of this project. Each of them does the set-up itself where it is missing.

SHELL := /bin/bash
.DEFAULT_GOAL := help
PYTHON := .venv/bin/python
# Arguments for pytest: make test ARGS="-k fragment"
ARGS ?=

.PHONY: help
help: ## Show this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "make %-11s %s\n", $$1, $$2 }' Makefile

.PHONY: setup
setup: ## Install all that is needed: system packages (as root), .venv, the eBPF object
	+@scripts/setup

.PHONY: demo
demo: setup ## Show real programs being held, attributed and decided, in namespaces of their own
	@$(PYTHON) -m nfsnitch.lab.demo

# With what the tests on other kernels need: an emulator and kernels, some 250 MB the first time.
.PHONY: setup-vm
setup-vm:
	+@scripts/setup --vm

.PHONY: test
test: setup-vm ## Run every check and every test; ARGS="…" goes to pytest
	@scripts/test $(ARGS)

.PHONY: test-vm
test-vm: setup-vm ## Run the end-to-end tests on Debian's kernels, under qemu; ARGS="…" goes to pytest
	@$(PYTHON) -m pytest tests/vm -v --numprocesses 2 --dist loadgroup $(ARGS)

.PHONY: test-counts
test-counts: setup-vm ## Count 20,000 short-lived senders in each guest: half an hour
	@NFSNITCH_SENDERS=2000 $(PYTHON) -m pytest tests/vm -v --numprocesses 2 --dist loadgroup \
		-k short_lived_sender $(ARGS)

.PHONY: test-bcc
test-bcc: setup-vm ## Go all ways out in the guests once more, with eBPF programs made by bcc: 10 minutes
	@NFSNITCH_BPF=bcc $(PYTHON) -m pytest tests/vm -v --numprocesses 2 --dist loadgroup \
		-k ways_out_each $(ARGS)

.PHONY: test-lab
test-lab: setup-vm ## Play all scenarios of tests/lab in each guest, in all attach modes
	@NFSNITCH_LAB_GUESTS=all $(PYTHON) -m pytest tests/vm -v --numprocesses 2 --dist loadgroup \
		-k lab_corpus $(ARGS)

.PHONY: mutants
mutants: setup ## Put faults into the daemon, and see the scenarios find each of them out: 5 minutes
	@PYTHONPATH=tests $(PYTHON) -m lab.mutants $(ARGS)

.PHONY: invent
invent: setup ## Invent rules and flows, and look whether the firewall keeps its word; ARGS="--seed 7"
	@PYTHONPATH=tests $(PYTHON) -m lab.inventing $(ARGS)

.PHONY: bench
bench: setup ## Measure until somebody sees the question; ARGS=flows (beside others), =path, =lists, =rules
	@$(PYTHON) -m nfsnitch.lab.bench $(ARGS)

.PHONY: ways-out
ways-out: ## Write docs/ways-out.md again, of what the last test runs have counted
	@PYTHONPATH=tests $(PYTHON) -m ways.page

.PHONY: unit
unit: setup ## Run the tests that need neither root nor namespaces; ARGS="…" goes to pytest
	@$(PYTHON) -m pytest tests/unit $(ARGS)

.PHONY: lint
lint: setup ## Run the checks alone: ruff, mypy, the import linter, shellcheck
	@scripts/test --lint

.PHONY: install
install: setup ## Install the program, its units and first rules; DESTDIR=, PREFIX=, SYSCONFDIR=
	@scripts/install

.PHONY: format
format: setup ## Lay out the code and fix what can be fixed without thinking
	@.venv/bin/ruff check --fix-only --quiet .
	@.venv/bin/ruff format .

.PHONY: generated
generated: setup ## Write again what is made from the tables: the rules' schema, the man pages
	@.venv/bin/nfsnitch schema >.cache/rules.schema.json
	@mv .cache/rules.schema.json src/nfsnitch/rules.schema.json
	@$(PYTHON) scripts/manual.py man

.PHONY: clean
clean: ## Remove what was built, .venv too
	@rm -rf .venv .cache build dist .hypothesis .pytest_cache .mypy_cache .ruff_cache
	@rm -rf .import_linter_cache
	@find . -name __pycache__ -prune -exec rm -rf {} +
	@$(MAKE) --no-print-directory -C bpf clean

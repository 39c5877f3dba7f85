# What a developer and CI run; both run the same. `make` alone lists the targets.

SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
MAKEFLAGS += --no-builtin-rules --no-print-directory

CARGO ?= cargo
TOOLS := .tools
# In CI a Cargo.lock that is out of date is an error instead of being mended.
LOCKED := $(if $(CI),--locked)
# What setup.sh put into .tools comes first.
export PATH := $(CURDIR)/$(TOOLS)/bin:$(CURDIR)/$(TOOLS)/venv/bin:$(PATH):/usr/sbin:/sbin

# Network namespaces need root, building does not: without root, only the test programs themselves
# run under sudo.
ifneq ($(shell id -u),0)
AS_ROOT := --config 'target."cfg(unix)".runner=["sudo","--preserve-env","--"]'
endif

is_on = $(filter-out 0 no false,$(1))

.PHONY: help demo test check bench setup clean

help: ## List the targets
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "  make %-8s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

demo: ## Show what is released and what is refused; no root needed (TRANSPARENT=1: real capture, as root; KEEP=1: go on by hand)
	$(if $(call is_on,$(TRANSPARENT)),$(CARGO) build $(LOCKED) --package lazaret-init)
	$(CARGO) run $(LOCKED) --bin lazaret $(if $(call is_on,$(TRANSPARENT)),$(AS_ROOT)) -- \
		demo $(if $(call is_on,$(TRANSPARENT)),--transparent) $(if $(call is_on,$(KEEP)),--keep)

test: ## Install what is missing, then run all tests (root or sudo)
	scripts/setup.sh test
	$(CARGO) build $(LOCKED) --workspace --bins
	$(CARGO) test $(LOCKED) --workspace --no-fail-fast $(AS_ROOT)

check: ## Format, lints, documentation, dependencies, scripts, Dockerfile
	scripts/setup.sh check
	$(CARGO) fmt --all --check
	shellcheck .ci/run $$(find . \( -path ./target -o -path ./$(TOOLS) \) -prune -o -name '*.sh' -print)
	hadolint Dockerfile
	cargo-deny --locked check licenses bans sources
	$(CARGO) clippy $(LOCKED) --workspace --all-targets -- -D warnings
	RUSTDOCFLAGS='-D warnings' $(CARGO) doc $(LOCKED) --workspace --no-deps

bench: ## Compare with Envoy, HAProxy and a direct connection, and with and without rules and ledger (root or sudo)
	scripts/setup.sh bench
	benches/compare.py
	benches/disclosure.py

setup: ## Install everything that the other targets need (root or sudo)
	scripts/setup.sh test check bench

clean: ## Remove what was built, and the tools under .tools
	$(CARGO) clean
	rm -rf $(TOOLS)

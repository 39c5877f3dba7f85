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

# For each fuzz target, in seconds.
FUZZ_SECONDS ?= 30
# Larger than the largest input that anything reads, in bytes.
FUZZ_BYTES := 40000
# What `cargo fuzz` instruments with, but for sanitizers: those need nightly Rust, and there is no
# `unsafe` here for them to find.
FUZZ_FLAGS := -Ccodegen-units=1 -Cpasses=sancov-module $(addprefix -Cllvm-args=-sanitizer-coverage-,\
	level=4 inline-8bit-counters pc-table trace-compares)
# With a target that is named, build scripts and macros are not instrumented.
FUZZ_TARGET = $(shell rustc -vV | sed -n 's/^host: //p')

.PHONY: help demo test fuzz check bench setup clean

help: ## List the targets
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "  make %-8s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

demo: ## Show what is released and what is refused; no root needed (TRANSPARENT=1: real capture, as root; KEEP=1: go on by hand)
	$(if $(call is_on,$(TRANSPARENT)),$(CARGO) build $(LOCKED) --package lazaret-init)
	$(CARGO) run $(LOCKED) --bin lazaret $(if $(call is_on,$(TRANSPARENT)),$(AS_ROOT)) -- \
		demo $(if $(call is_on,$(TRANSPARENT)),--transparent) $(if $(call is_on,$(KEEP)),--keep)

test: ## Install what is missing, then run all tests (root or sudo)
	scripts/setup.sh test
	$(if $(CI),$(MAKE) fuzz)
	$(CARGO) build $(LOCKED) --workspace --bins
	$(CARGO) test $(LOCKED) --workspace --no-fail-fast $(AS_ROOT)

fuzz: ## Feed noise to what reads the first bytes of a connection (FUZZ_SECONDS=30 for each target)
	cd fuzz; \
	for target in detect hello; do \
		mkdir -p corpus/$$target artifacts/$$target; \
		RUSTFLAGS='$(FUZZ_FLAGS)' $(CARGO) run $(LOCKED) --release --target $(FUZZ_TARGET) --bin $$target -- \
			-max_total_time=$(FUZZ_SECONDS) -max_len=$(FUZZ_BYTES) -timeout=5 -verbosity=0 \
			-print_final_stats=1 -artifact_prefix=artifacts/$$target/ corpus/$$target seeds/$$target; \
	done

check: ## Format, lints, documentation, dependencies, scripts, Dockerfile
	scripts/setup.sh check
	$(CARGO) fmt --all --check
	$(CARGO) fmt --manifest-path fuzz/Cargo.toml --check
	shellcheck .ci/run $$(find . \( -path ./target -o -path ./$(TOOLS) \) -prune -o -name '*.sh' -print)
	hadolint Dockerfile
	cargo-deny --locked check licenses bans sources
	$(CARGO) clippy $(LOCKED) --workspace --all-targets -- -D warnings
	cd fuzz && RUSTFLAGS='$(FUZZ_FLAGS)' \
		$(CARGO) clippy $(LOCKED) --release --target $(FUZZ_TARGET) -- -D warnings
	RUSTDOCFLAGS='-D warnings' $(CARGO) doc $(LOCKED) --workspace --no-deps

bench: ## Compare with Envoy, HAProxy and a direct connection, plain and in TLS, and with and without rules and ledger (root or sudo)
	scripts/setup.sh bench
	benches/compare.py
	benches/tls.py
	benches/disclosure.py

setup: ## Install everything that the other targets need (root or sudo)
	scripts/setup.sh test check bench

clean: ## Remove what was built, and the tools under .tools
	$(CARGO) clean
	rm -rf $(TOOLS) fuzz/target fuzz/corpus fuzz/artifacts

# Every target does its own set-up: on a fresh machine `make demo` and `make test` need no other command before them.
# Needs: Rust 1.95 (rustup), a C compiler, Python 3.11, Node 20 with npm. Go 1.26 for the components of `make test` that are built from source.

SHELL := /bin/bash -euo pipefail
CARGO ?= cargo
# A run that is thrown away builds everything once: what a second build would take up again is only gigabytes there.
ifdef CI
export CARGO_INCREMENTAL = 0
endif

.PHONY: replicas live help demo test image manifests bench bench-peers build lint unit e2e evidence clickhouse kube fuzz crash kills mutants crds redteam soak conformance

help: ## What can be made
	@grep -E '^[a-z0-9-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 14

demo: ## A complete governed system with real agents, servers and clients, explained step by step
	$(CARGO) build --release -p vidimus
	target/release/vidimus demo --components e2e $(DEMO_FLAGS)

test: lint unit kube e2e ## Everything that CI runs

build:
	$(CARGO) build --workspace --all-targets

lint: ## Formatting, clippy, licences and bans (crate arrows and sizes are tests of xtask)
	$(CARGO) fmt --all -- --check
	$(CARGO) clippy --workspace --all-targets -- -D warnings
	scripts/deny.sh
	scripts/machete.sh

unit: ## Unit, property and integration tests in Rust
	$(CARGO) test --workspace

evidence: ## 1000 exports of a real run, each changed in one place: refused by `audit verify` and by docs/verify-evidence.py
	$(CARGO) build --workspace --all-targets
	VIDIMUS_MUTATIONS=$(or $(MUTATIONS),1000) e2e/test.sh test_evidence

clickhouse: ## Records in a ClickHouse that is gone for AWAY seconds (60) under load: nothing lost, nothing there twice
	$(CARGO) build --workspace --all-targets
	VIDIMUS_CLICKHOUSE_AWAY=$(or $(AWAY),60) e2e/clickhouse/test.sh

replicas: ## Three gateways behind a round robin, one killed every second for SECONDS (60): nothing fails, is exceeded or is lost
	$(CARGO) build --workspace --all-targets
	VIDIMUS_REPLICAS_SECONDS=$(or $(SECONDS),60) e2e/replicas/test.sh

live: ## How soon a change in a cluster is in force, beside AGENTS (10000) agents, as many policies and a tenth as many servers; JSON lines; JUDGED=1 fails where a goal does not hold
	$(CARGO) build --release -p vidimus
	VIDIMUS_BIN=$(CURDIR)/target/release/vidimus VIDIMUS_LIVE_AGENTS=$(or $(AGENTS),10000) VIDIMUS_LIVE_JUDGED=$(JUDGED) e2e/kube/test.sh -v -timeout 60m -run TestEventIsLive

kube: ## The CRDs, a gateway that follows them, and admission, against a real Kubernetes API server (Go); and Kyverno
	$(CARGO) build --workspace --all-targets
	e2e/kube/test.sh
	e2e/kyverno/test.sh

e2e: ## The gateway binary between real clients and real servers
	$(CARGO) build --workspace --all-targets # the same features as the tests, so nothing is built twice
	e2e/test.sh
	e2e/otel/test.sh
	e2e/sinks/test.sh
	e2e/authzen/test.sh
	e2e/opa/test.sh
	e2e/bedrock/test.sh
	e2e/wrap/test.sh
	e2e/inspector/test.sh
	e2e/editors/test.sh
	e2e/faults/test.sh
	e2e/clickhouse/test.sh
	e2e/replicas/test.sh
	e2e/spire/test.sh
	e2e/tlog/test.sh
	e2e/envoy/test.sh
	e2e/prometheus/test.sh
	e2e/chart/test.sh
	e2e/image/test.sh
	e2e/systemd/test.sh

conformance: ## The protocols' own suites against an upstream alone and through the gateway; what differs, as a table (npm, PyPI)
	$(CARGO) build --workspace --all-targets
	e2e/conformance/run.sh

redteam: ## Attacks on a running gateway, a table of what held (REDTEAM_FLAGS='-o json', '--only paths/'); in `make test` too
	$(CARGO) build --workspace --all-targets
	target/debug/vidimus-redteam --binary target/debug/vidimus $(REDTEAM_FLAGS)

soak: ## SOAK_MINUTES (120) of mixed traffic with attacks: memory and descriptors flat, the ledger intact; JSON lines
	@$(CARGO) build --release -p vidimus -p vidimus-redteam
	@target/release/vidimus-redteam --binary target/release/vidimus --soak $(or $(SOAK_MINUTES),120) $(SOAK_FLAGS)

fuzz: ## Every parser of foreign bytes against random input, FUZZ_SECONDS each (30); needs a nightly toolchain
	scripts/fuzz.sh $(FUZZ_TARGETS)

crash: ## Power losses of the ledger, CRASH_STATES of them (12000): started, verified, compared with what was acknowledged
	VIDIMUS_CRASH_STATES=$(or $(CRASH_STATES),12000) $(CARGO) test --workspace -- crash::

kills: ## KILLS (1000) processes killed with -9 while they write to a ledger: nothing acknowledged is lost, every root made again
	VIDIMUS_KILLS=$(or $(KILLS),1000) $(CARGO) test --release -p vidimus-ledger --test it -- --nocapture nothing_acknowledged_is_lost_by_kill_9
	$(CARGO) build --workspace --all-targets
	VIDIMUS_FAULTS_EVERY=1 e2e/faults/test.sh

mutants: ## Small changes to the heart, one at a time: which does no test notice? Hours; MUTANTS_FLAGS='--file crates/…' for a part
	scripts/mutants.sh $(MUTANTS_FLAGS)

bench: ## Every promised number, one JSON object a line (on stdout nothing else)
	@$(CARGO) build --release -p vidimus -p vidimus-bench
	@VIDIMUS_BENCH_DUCKDB=$$(scripts/duckdb.sh) target/release/bench $(BENCH_FLAGS)

bench-peers: ## Envoy, LiteLLM, ContextForge, FastMCP and Vidimus in turns (Linux on x86-64, PyPI; not part of CI)
	@$(CARGO) build --release -p vidimus -p vidimus-bench
	@target/release/bench peers $(BENCH_FLAGS)

image: ## The image of the gateway as an OCI layout in target/image, with its bill of materials; prints its digest
	@$(CARGO) build --release -p vidimus
	@scripts/image.py --binary target/release/vidimus --out target/image

manifests: ## Write deploy/install, which `vidimus install` applies, from the chart (after `make crds`, too)
	e2e/chart/manifests.sh

crds: ## Write deploy/crds from the Rust types
	$(CARGO) xtask crds

# NewAge Broker. `make` lists the targets; `make run` and `make test` are the two that matter.
#
# Each installs what it needs, once: stamps in .cache/ remember what is up to date. System packages
# are installed with apt-get, only if they are missing and only as root.

SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
MAKEFLAGS += --no-print-directory

CARGO ?= cargo
NPM ?= npm
PYTHON ?= python3
DOCKER ?= docker
IMAGE ?= newage-broker
# Where `make run` keeps settings/, keys/, logs/ and data/.
DATA ?= .

target := $(or $(CARGO_TARGET_DIR),target)
stamps := .cache
npm_ci := $(NPM) ci --no-audit --no-fund --loglevel=error

##@ Use

.PHONY: run
run: build ## Build what is missing, start the broker with the demo extension (PORT=, BIND=, DATA=)
	@echo "Open http://$(if $(filter-out 0.0.0.0 ::,$(BIND)),$(BIND),localhost):$(or $(PORT),$(NEWAGE_PORT),$(shell sed -n 's/.*"serverPort": *\([0-9]*\).*/\1/p' $(DATA)/settings/server_settings.json 2>/dev/null),4000)   (Ctrl-C stops)"
	@exec $(target)/release/newage-broker --demo --data $(DATA) $(if $(PORT),--port $(PORT)) $(if $(BIND),--bind $(BIND))

.PHONY: build
build: web extension ## The page and the extension, then the release build: target/release/newage-broker
	@command -v $(CARGO) >/dev/null || { echo "Rust is missing: https://rustup.rs" >&2; exit 1; }
	$(CARGO) build --release --locked

.PHONY: web
web: $(stamps)/web ## The monitor page and browser bundles: web/dist

.PHONY: extension
extension: $(stamps)/extension ## The SillyTavern extension: extension/dist

.PHONY: image
image: ## Container image (IMAGE=name:tag, DOCKER=podman)
	@$(DOCKER) info >/dev/null 2>&1 || { echo "make image: no container engine answers to \"$(DOCKER) info\"; start one, or set DOCKER=podman" >&2; exit 1; }
	$(DOCKER) build $(if $(findstring podman,$(DOCKER)),--format docker) --tag $(IMAGE) .

##@ Test

# Fast failures first.
steps := check-format test-web test-extension lint doc deny test-rust test-clients test-sillytavern

.PHONY: test
test: ## Everything that CI runs, with a summary
	@begun=$$SECONDS; summary=; \
	for step in $(steps); do \
	  printf '\n=== %s\n' "$$step"; since=$$SECONDS; \
	  if ! $(MAKE) $$step; then \
	    printf '\n%b  %-16s FAILED; again with: make %s\n' "$$summary" "$$step" "$$step" >&2; exit 1; \
	  fi; \
	  summary+=$$(printf '  %-16s ok  %4d s' "$$step" $$((SECONDS - since)))'\n'; \
	done; \
	printf '\n%b  all passed in %d min %02d s\n' "$$summary" $$(((SECONDS - begun) / 60)) $$(((SECONDS - begun) % 60))

.PHONY: test-rust
test-rust: $(stamps)/web $(stamps)/extension ## Unit, property and end-to-end tests of all crates
	$(CARGO) test --workspace --locked --no-fail-fast

.PHONY: test-web
test-web: $(stamps)/web ## Tests of the page; building it checks its types
	cd web && $(NPM) test

.PHONY: test-extension
test-extension: $(stamps)/extension ## Tests of the extension's logic; building it checks its types
	cd extension && $(NPM) test

.PHONY: test-clients
test-clients: $(stamps)/web $(stamps)/extension $(stamps)/clients $(stamps)/python $(stamps)/system ## Real clients: JavaScript, Python, a browser
	$(CARGO) build --locked --bin newage-broker
	cd tests/clients && NEWAGE_BIN="$$(realpath ../../$(target))/debug/newage-broker" $(NPM) test

.PHONY: test-sillytavern
test-sillytavern: $(stamps)/web $(stamps)/extension $(stamps)/sillytavern $(stamps)/system ## The extension in real SillyTaverns, newest and oldest
	$(CARGO) build --locked --bin newage-broker
	cd tests/sillytavern && NEWAGE_BIN="$$(realpath ../../$(target))/debug/newage-broker" $(NPM) test

.PHONY: check-format
check-format: $(stamps)/rust-tools
	$(CARGO) fmt --all --check

.PHONY: lint
lint: $(stamps)/rust-tools $(stamps)/web $(stamps)/extension ## Clippy; a warning is an error
	$(CARGO) clippy --workspace --all-targets --locked -- -D warnings

.PHONY: doc
doc: $(stamps)/web $(stamps)/extension ## Documentation of all modules, private ones too; a broken link is an error
	RUSTDOCFLAGS="-D warnings -A rustdoc::private_intra_doc_links" $(CARGO) doc --workspace --no-deps --document-private-items --locked

# tests/tidy/licences.rs holds the licences to deny.toml either way.
.PHONY: deny
deny:
	@if command -v cargo-deny >/dev/null; then $(CARGO) deny --locked check bans licenses sources; \
	else echo "cargo-deny is not installed; tests/tidy/licences.rs checks licences and sources"; fi

# Random, so no part of `make test`: it says SEED= to have the same again.
.PHONY: broken
broken: $(stamps)/clients $(stamps)/web $(stamps)/extension ## Real clients on connections that break all the time (SEED=)
	$(CARGO) build --locked --bin newage-broker
	cd tests/clients && NEWAGE_BIN="$$(realpath ../../$(target))/debug/newage-broker" $(if $(SEED),SEED=$(SEED)) $(NPM) run broken

# `cargo fuzz` asks for options that a stable compiler only takes so.
.PHONY: fuzz
fuzz: ## Each fuzz target for FUZZ_SECONDS=60 (needs cargo-fuzz)
	@command -v cargo-fuzz >/dev/null || { echo "make fuzz: cargo install cargo-fuzz" >&2; exit 1; }
	cd framing && for target in $$($(CARGO) fuzz list); do \
	  RUSTC_BOOTSTRAP=1 $(CARGO) fuzz run "$$target" -- -max_total_time=$(or $(FUZZ_SECONDS),60); \
	done

##@ Measure

.PHONY: bench
bench: bench-build ## Beside other brokers: docs/performance.md, 20 min (SCENARIO=stream RUNS=3: a part, printed)
	bench/target/release/bench-load $(if $(SCENARIO),--scenario $(SCENARIO)) $(if $(ONLY),--only $(ONLY)) $(if $(RUNS),--runs $(RUNS)) $(if $(SCENARIO)$(ONLY)$(RUNS),,--write)

.PHONY: bench-smoke
bench-smoke: bench-build ## All scenarios with a few clients for a moment: that they work, and nothing else
	bench/target/release/bench-load --tiny

.PHONY: bench-build
bench-build: $(stamps)/bench-modules
	$(CARGO) build --release --locked --bin newage-broker
	cd bench && CARGO_TARGET_DIR=target $(CARGO) build --release --locked

##@ Work on it

.PHONY: fmt
fmt: $(stamps)/rust-tools ## Format the Rust code
	$(CARGO) fmt --all

.PHONY: clean
clean: ## Remove what was built or installed here; settings/, keys/, logs/ and data/ stay
	$(CARGO) clean
	rm -rf $(stamps) web/dist web/node_modules extension/dist extension/node_modules \
	  bench/target bench/servers/node/node_modules tests/clients/node_modules tests/clients/.venv tests/sillytavern/node_modules

.PHONY: help
help: ## This list
	@awk 'BEGIN { FS = ":.*## " } /^##@/ { printf "\n%s\n", substr($$0, 5) } /^[a-z-]+:.*## / { printf "  make %-16s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

# What is installed once. A stamp is younger than everything that it was made from.

$(stamps)/node:
	@command -v node >/dev/null || { echo "Node.js is missing: 20.19 or later, https://nodejs.org" >&2; exit 1; }
	@node -e 'const [a, b] = process.versions.node.split(".").map(Number); if (a < 20 || (a === 20 && b < 19)) { console.error(`Node.js $${process.versions.node} is too old: 20.19 or later is needed`); process.exit(1); }'
	@mkdir -p $(stamps) && touch $@

$(stamps)/web-modules: web/package.json web/package-lock.json | $(stamps)/node
	cd web && $(npm_ci)
	@touch $@

$(stamps)/web: $(stamps)/web-modules web/index.html web/vite.config.ts web/tsconfig.json $(shell find web/src web/assets web/scripts -type f)
	cd web && $(NPM) run build
	@touch $@

$(stamps)/extension-modules: extension/package.json extension/package-lock.json | $(stamps)/node
	cd extension && $(npm_ci)
	@touch $@

$(stamps)/extension: $(stamps)/extension-modules extension/vite.config.ts extension/tsconfig.json $(shell find extension/src extension/public -type f)
	cd extension && $(NPM) run build
	@touch $@

$(stamps)/bench-modules: bench/servers/node/package.json bench/servers/node/package-lock.json | $(stamps)/node
	cd bench/servers/node && $(npm_ci)
	@touch $@

# SillyTavern's own install scripts are not needed: it is only served.
$(stamps)/sillytavern: tests/sillytavern/package.json tests/sillytavern/package-lock.json tests/sillytavern/.npmrc | $(stamps)/node
	cd tests/sillytavern && $(npm_ci) --ignore-scripts
	@touch $@

$(stamps)/clients: tests/clients/package.json tests/clients/package-lock.json | $(stamps)/node
	cd tests/clients && $(npm_ci)
	@touch $@

$(stamps)/python: tests/clients/requirements.txt
	@mkdir -p $(stamps)
	@if ! $(PYTHON) -c 'import ensurepip, venv' 2>/dev/null; then \
	  [ "$$(id -u)" = 0 ] || { echo "as root: apt-get install python3 python3-venv" >&2; exit 1; }; \
	  apt-get update -qq && apt-get install -y -qq --no-install-recommends python3 python3-venv; \
	fi
	$(PYTHON) -m venv --clear tests/clients/.venv
	tests/clients/.venv/bin/pip install --quiet --disable-pip-version-check --no-deps -r tests/clients/requirements.txt
	@touch $@

# A browser, and letters for what it shows. Debian's Chromium; elsewhere set NEWAGE_CHROMIUM.
packages := fonts-noto-cjk fonts-noto-color-emoji $(if $(NEWAGE_CHROMIUM),,chromium)

$(stamps)/system:
	@mkdir -p $(stamps)
	@missing=; for package in $(packages); do \
	  [ "$$(dpkg-query -W -f '$${db:Status-Status}' $$package 2>/dev/null)" = installed ] || missing+=" $$package"; \
	done; \
	if [ -n "$$missing" ]; then \
	  [ "$$(id -u)" = 0 ] || { echo "as root: apt-get install$$missing" >&2; exit 1; }; \
	  apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends $$missing; \
	fi
	@touch $@

$(stamps)/rust-tools:
	@mkdir -p $(stamps)
	@command -v $(CARGO) >/dev/null || { echo "Rust is missing: https://rustup.rs" >&2; exit 1; }
	@$(CARGO) fmt --version >/dev/null 2>&1 || rustup component add rustfmt
	@$(CARGO) clippy --version >/dev/null 2>&1 || rustup component add clippy
	@touch $@

# The verbs of the project. `make` alone lists them.
SHELL := /bin/bash
GO ?= go
BIN := bin
DATA ?= data
DETECT_DATA ?= ../shared/data
PKGS := ./...
LINT := $(shell $(GO) env GOPATH)/bin/golangci-lint
LINT_VERSION := v2.15.0
FUZZTIME ?= 5s
# Leaves out what passes; what fails and what is skipped, with its reason, stays.
QUIET := grep --line-buffered -vE '^(=== |PASS$$)|^ *--- PASS|\[no test files\]$$'

.DEFAULT_GOAL := help
.PHONY: help build run clean-data test test-race test-setup check fmt lint bench detect sim sim-year fuzz powercuts

help: ## list the verbs
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed 's/:.*## /\t/' | expand -t 14

build: ## build the server and the simulator into bin/
	@mkdir -p $(BIN)
	@test -e $(BIN)/aftercare || echo "the first build takes a few minutes"
	$(GO) build -trimpath -o $(BIN)/aftercare ./cmd/aftercare
	$(GO) build -trimpath -o $(BIN)/firmware-sim ./firmware-sim

run: build ## run the server with a demo fleet; it prints where to look; Ctrl-C stops all of it (ARGS="--web.listen ..." for settings)
	@exec $(BIN)/aftercare demo --data $(DATA) $(ARGS)

clean-data: ## forget the demo's data: the next run starts over
	@if [ -e $(DATA)/lock ] && ! flock --nonblock $(DATA)/lock true; then echo "a server is running on $(DATA); stop it first"; exit 1; fi
	rm -rf -- $(DATA)

test: test-setup ## run all tests (installs mosquitto, chromium and strace where it may)
	@set -o pipefail; $(GO) test -v -timeout 10m $(PKGS) 2>&1 | $(QUIET)

test-race: test-setup ## run all tests under the race detector
	@set -o pipefail; $(GO) test -v -race -timeout 20m $(PKGS) 2>&1 | $(QUIET)

test-setup:
	@bash .ci/setup

check: fmt lint ## format, vet, lint, import rules, shipped configuration and tests of rules
	$(GO) vet $(PKGS)
	$(GO) test -run 'TestImportRules' ./internal/e2e
	$(GO) run ./cmd/aftercare check
	$(GO) run ./cmd/aftercare rules test

fmt:
	@bad=$$(gofmt -l cmd internal firmware-sim configs); test -z "$$bad" || { echo "not formatted:"; echo "$$bad"; exit 1; }

lint:
	@$(LINT) version 2>/dev/null | grep -q '$(LINT_VERSION:v%=%)' || $(GO) install github.com/golangci/golangci-lint/v2/cmd/golangci-lint@$(LINT_VERSION)
	$(LINT) run $(PKGS)

bench: ## run the benchmarks (BENCH=regexp, COUNT=n); compare with benchstat
	$(GO) test -run xxx -bench '$(or $(BENCH),.)' -benchmem -count $(or $(COUNT),1) $(PKGS)

detect: build ## measure the detectors on labelled public data (DETECT_DATA=folder)
	@.ci/detect $(BIN)/aftercare $(DETECT_DATA)

sim: build ## simulate a fleet with faults, replay it, and print what was told in time and what falsely (SIM_DEVICES=300 SIM_DAYS=180 SIM_SEED=1 SIM_ARGS=--details; the goal is the default)
	@.ci/sim $(BIN) $(or $(SIM_DEVICES),300) $(or $(SIM_DAYS),180) $(or $(SIM_SEED),1) $(or $(SIM_ARGS),--min-warned 0.95 --max-false 0.05)
	@PARTS=1 .ci/sim-households $(BIN) 20 30 40

sim-year: build ## simulate a year of households, and judge what people heard (HOUSEHOLDS=1000 DAYS=365 DEVICES=as many; hours on a small machine)
	@.ci/sim-households $(BIN) $(or $(HOUSEHOLDS),1000) $(or $(DAYS),365) $(or $(DEVICES),$(HOUSEHOLDS),1000)

powercuts: test-setup ## cut the power of a recorded server at many random moments (POWERCUTS=1000); the tests do 100
	POWERCUTS=$(or $(POWERCUTS),1000) $(GO) test -v -count=1 -run TestPowerCut ./internal/e2e

fuzz: ## run every fuzz target for a short while (FUZZTIME=5s)
	@set -e; for pkg in $$($(GO) list ./...); do \
	  for target in $$($(GO) test -list '^Fuzz' $$pkg | grep '^Fuzz' || true); do \
	    echo "$$pkg $$target"; $(GO) test -run xxx -fuzz "^$$target$$" -fuzztime $(FUZZTIME) $$pkg; done; done

# The verbs of the project. `make` alone lists them.
SHELL := /bin/bash
GO ?= go
BIN := bin
DATA ?= data
PKGS := ./...
LINT := $(shell $(GO) env GOPATH)/bin/golangci-lint
LINT_VERSION := v2.15.0
FUZZTIME ?= 5s

.DEFAULT_GOAL := help
.PHONY: help build run clean-data test test-race test-setup check fmt lint bench fuzz screenshots

help: ## list the verbs
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed 's/:.*## /\t/' | expand -t 14

build: ## build the server and the simulator into bin/
	@mkdir -p $(BIN)
	$(GO) build -trimpath -o $(BIN)/aftercare ./cmd/aftercare
	$(GO) build -trimpath -o $(BIN)/firmware-sim ./firmware-sim

run: build ## run the server with a demo fleet; it prints where to look; Ctrl-C stops all of it
	@exec $(BIN)/aftercare demo --data $(DATA)

clean-data: ## forget the demo's data: the next run starts over
	rm -rf -- $(DATA)

test: test-setup ## run all tests (installs mosquitto, chromium and strace where it may)
	$(GO) test -timeout 10m $(PKGS)

test-race: test-setup ## run all tests under the race detector
	$(GO) test -race -timeout 20m $(PKGS)

test-setup:
	@bash .ci/setup

check: fmt lint ## format, vet, lint, import rules, shipped configuration
	$(GO) vet $(PKGS)
	$(GO) test -run 'TestImportRules' ./internal/e2e
	$(GO) run ./cmd/aftercare check

fmt:
	@bad=$$(gofmt -l cmd internal firmware-sim configs); test -z "$$bad" || { echo "not formatted:"; echo "$$bad"; exit 1; }

lint:
	@$(LINT) version 2>/dev/null | grep -q '$(LINT_VERSION:v%=%)' || $(GO) install github.com/golangci/golangci-lint/v2/cmd/golangci-lint@$(LINT_VERSION)
	$(LINT) run $(PKGS)

bench: ## run the benchmarks (BENCH=regexp, COUNT=n); compare with benchstat
	$(GO) test -run xxx -bench '$(or $(BENCH),.)' -benchmem -count $(or $(COUNT),1) $(PKGS)

fuzz: ## run every fuzz target for a short while (FUZZTIME=5s)
	@set -e; for pkg in $$($(GO) list ./...); do \
	  for target in $$($(GO) test -list '^Fuzz' $$pkg | grep '^Fuzz' || true); do \
	    echo "$$pkg $$target"; $(GO) test -run xxx -fuzz "^$$target$$" -fuzztime $(FUZZTIME) $$pkg; done; done

screenshots: build ## make the README's screenshots with the project's own pages
	$(GO) test -count=1 -run TestScreenshots -args-screenshots ./internal/e2e

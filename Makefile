GO ?= go
# Where make histories writes; a recorded history is kept for ever.
HISTORIES := $(CURDIR)/tests/replay/histories
TOOLS := $(GO) tool -modfile=$(CURDIR)/internal/tools/go.mod
FOR ?= 10m
FUZZTIME ?= 20s

help: ## list the targets
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 12

demo: ## run the whole of it in one process against a sandbox shop, and check every record
	$(GO) run ./starter demo $(ARGS)

test: servers vet ## test everything
	$(GO) test -timeout 25m ./...

servers: ## find or install the servers that tests need
	@tests/servers.sh

vet:
	$(GO) vet ./...

lint: ## static checks: determinism of workflows, imports between rooms, staticcheck
	$(TOOLS) workflowcheck -config .workflowcheck.yaml ./workflows
	$(TOOLS) depguard ./...
	$(TOOLS) staticcheck ./...

build: ## build bin/worker and bin/starter
	$(GO) build -o bin/ ./worker ./starter

chaos: ## kill the engine at random for as long as told: make chaos FOR=1h
	TRIBUTARY_CHAOS_FOR=$(FOR) $(GO) test -count=1 -v -timeout 0 -run '^TestKills$$' ./tests/e2e

histories: ## record more histories of real runs for the replay tests
	TRIBUTARY_HISTORIES=$(HISTORIES) $(GO) test -count=1 -run '^TestHistoriesOfRealRunsReplay$$' ./tests/e2e

fuzz: ## fuzz what takes bytes from outside: make fuzz FUZZTIME=5m
	@for p in ./internal/segment ./internal/receiver ./internal/integration ./connectors ./connectors/webhook ./connectors/shopify ./connectors/outbound; do \
	  for f in $$($(GO) test -list '^Fuzz' $$p | grep '^Fuzz'); do \
	    echo "$$p $$f"; $(GO) test -run '^$$' -fuzz "^$$f$$" -fuzztime $(FUZZTIME) $$p || exit 1; \
	  done; done

.PHONY: help demo test servers vet lint build chaos histories fuzz

GO ?= go
TOOL := $(GO) tool -modfile=internal/tools/go.mod
# An absolute path: tests run in the folder of their package. A recorded history is kept for ever.
HISTORIES := $(CURDIR)/tests/replay/histories
SCHEMA := docs/integration.schema.json
FOR ?= 10m
FUZZTIME ?= 20s

help: ## list the targets
	@sed -nE 's/^([a-z-]+):.*## /\1\t/p' $(MAKEFILE_LIST) | expand -t 12

demo: cxx ## run the whole of it in one process against a sandbox shop, and check every record: make demo ARGS=--keep
	@$(GO) run ./starter demo $(ARGS)

build: cxx ## build bin/worker and bin/starter
	$(GO) build -o bin/ ./worker ./starter

test: servers vet ## test everything
	$(GO) test -timeout 25m ./...

check: lint test-race ## what CI runs after test: lint, test-race, a moment of fuzz, and vuln
	$(MAKE) fuzz FUZZTIME=5s
	$(MAKE) vuln

test-race: servers ## test what runs at the same time under the race detector
	$(GO) test -race -timeout 30m ./activities ./examples/... ./internal/block ./internal/catalog ./internal/journal \
	  ./internal/receiver ./internal/segment ./internal/vault ./connectors/datastream ./connectors/delivery ./connectors/lifetime ./connectors/oauth \
	  ./connectors/shopify ./connectors/table ./connectors/webhook

test-slow: servers ## test against servers that take minutes to have: FerretDB, which speaks MongoDB's protocol, and MySQL from Debian's unstable
	$(GO) test -tags slow -timeout 60m ./connectors/mongodb
	internal/tools/mysql.sh $(GO) test -count=1 -timeout 30m -run '/mysql|TestLoadsTurnedOff' ./connectors/mysql
	internal/tools/mysql.sh $(GO) test -count=1 -timeout 30m -run '^TestEveryDestinationAtOnce$$' ./tests/e2e

# Packages whose suites can run against a real service, each with the end of the variable TRIBUTARY_TEST_* that says where it is.
LIVE := postgres:POSTGRES mysql:MYSQL mysql:MARIADB bigquery:BIGQUERY mongodb:MONGODB object:S3 object:GCS pubsub:PUBSUB eventbridge:EVENTBRIDGE kafka:KAFKA snowflake:SNOWFLAKE redshift:REDSHIFT

test-live: cxx ## test against the real services that TRIBUTARY_TEST_* variables name, see docs/destinations
	@packages=; for each in $(LIVE); do \
	  [ -z "$$(printenv TRIBUTARY_TEST_$${each#*:})" ] || packages="$$packages ./connectors/$${each%:*}"; \
	done; \
	[ -n "$$packages" ] || { echo "test-live: set one or more of $(foreach each,$(LIVE),TRIBUTARY_TEST_$(lastword $(subst :, ,$(each))))" >&2; exit 1; }; \
	$(GO) test -count=1 -p 1 -tags slow -timeout 120m $$(printf '%s\n' $$packages | sort -u)

vet: cxx
	$(GO) vet ./...

lint: cxx ## static checks: who imports whom, determinism of workflows, staticcheck, and that these find what they should
	$(TOOL) depguard ./...
	$(TOOL) workflowcheck -config .workflowcheck.yaml ./workflows
	$(TOOL) staticcheck ./...
	$(GO) -C internal/tools vet ./...
	$(GO) -C internal/tools test -count=1 ./...

vuln: cxx ## look for known vulnerabilities in what is called
	GO=$(GO) internal/tools/vuln.sh ./...

schema: cxx ## write the JSON Schema of integration files
	$(GO) run ./starter schema > $(SCHEMA).new && mv $(SCHEMA).new $(SCHEMA)

bench: servers ## measure against floors, and fail below the ratios in tests/bench/ratios.json: make bench ARGS=-scale=0.1
	$(GO) run ./tests/bench $(ARGS)

chaos: servers ## kill the engine at random for as long as told: make chaos FOR=1h
	TRIBUTARY_CHAOS_FOR=$(FOR) $(GO) test -count=1 -v -timeout 0 -run '^TestKills$$' ./tests/e2e

histories: servers ## record more histories of real runs for the replay tests
	TRIBUTARY_HISTORIES=$(HISTORIES) $(GO) test -count=1 -run '^TestHistor(iesOfRealRunsReplay|yOfCompleting)$$' ./tests/e2e

fuzz: ## fuzz what takes bytes from outside, each for a while: make fuzz FUZZTIME=5m
	@grep -rlE '^func Fuzz' --include='*_test.go' . | xargs -n 1 dirname | sort -u | while read -r dir; do \
	  for f in $$(sed -nE 's/^func (Fuzz[A-Za-z0-9_]+).*/\1/p' $$dir/*_test.go); do \
	    echo "$$dir $$f"; $(GO) test -run '^$$' -fuzz "^$$f\$$" -fuzztime $(FUZZTIME) $$dir || exit 1; \
	  done; done

servers: cxx
	@internal/tools/require.sh postgres mariadb pgbouncer

cxx:
	@internal/tools/require.sh cxx

.PHONY: help demo build test check test-race test-slow test-live vet lint vuln schema bench chaos histories fuzz servers cxx

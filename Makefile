# The two commands a newcomer needs are `make demo` and `make test`.

GO          ?= go
STATICCHECK  = honnef.co/go/tools/cmd/staticcheck@v0.8.2
PACKAGES     = ./...
# What can be tested without a running Caddy.
CORE         = ./radixcache/... ./janitor/... ./internal/...
NESTED       = integration/bench/json integration/bench/metrics integration/bench/radix integration/bench/pii integration/faults
# Where goroutines share memory: all of that, without tools and simulators.
RACED        = ./radixcache/... ./janitor/... ./kvaware $$($(GO) list ./internal/... | grep -vE '/internal/(adapter|commands|replay|sim)')
# Runs a step and records its time.
STEP         = $(GO) run ./.ci/report
# Many integration tests wait for something, so more packages run at a time than
# there are cores.
PARALLEL     = -p 4

.PHONY: demo test quick real build lint unit nested race callgraph bench fuzz prerequisites slowest

# Shows what cache-aware routing gives, on simulated engines, in one process.
demo:
	$(GO) run ./cmd/caddy kv-demo

# Everything CI runs. Installs what a fresh Debian machine with Go lacks. With
# CI set, tests that find something missing fail; else they are skipped.
test: export CI = true
test: export TIMES = $(CURDIR)/.times
test: prerequisites lint build unit nested race callgraph slowest

# The core packages with fewer rounds, in less than a minute.
quick:
	$(GO) test -short -timeout 20m $(CORE)

# The gateway in front of real engines: vLLM and LMCache, installed below the
# user's cache folder. Writes docs/compatibility.md. Not in CI.
real:
	@root=$$(integration/real/install.sh) && CADDY_KVAWARE_REAL=$$root $(GO) test -tags real -vet=off -count=1 -v -timeout 90m ./integration/real

# The gateway as one binary, ./caddy.
build:
	$(STEP) build $(GO) build -o caddy ./cmd/caddy

lint:
	@rm -f .times
	@unformatted=$$(gofmt -l $$(git ls-files --cached --others --exclude-standard '*.go')); \
	if [ -n "$$unformatted" ]; then echo "not gofmt'ed:"; echo "$$unformatted"; exit 1; fi
	$(STEP) vet $(GO) vet $(PACKAGES) ./.ci/report
	$(STEP) vet $(GO) vet -tags real ./integration/real
	$(STEP) staticcheck $(GO) run $(STATICCHECK) $(PACKAGES) ./.ci/report
	$(STEP) staticcheck $(GO) run $(STATICCHECK) -tags real ./integration/real

# Without the race detector: memory and allocations are only right here. vet has
# run before, so tests do not run it again.
unit:
	$(STEP) unit $(GO) test -vet=off $(PARALLEL) -timeout 20m $(PACKAGES)

# The race detector over the core packages, and over one test that runs
# everything at once through a real Caddy.
race: export GORACE = halt_on_error=1
race:
	$(STEP) race $(GO) test -vet=off -race -short -timeout 20m $(RACED)
	$(STEP) race $(GO) test -vet=off -race -timeout 20m -run '^TestTraffic$$' ./integration/gateway

# Proves that no code of ours can write a file. A module of its own, so that
# nobody who builds the gateway builds the analysis.
callgraph:
	cd integration/volatile/callgraph && $(GO) vet ./... && $(GO) run $(STATICCHECK) ./...
	$(STEP) callgraph $(GO) test -C integration/volatile/callgraph -count=1 -timeout 10m ./...

# Modules of their own, with dependencies that users of the gateway never see.
nested:
	for module in $(NESTED); do (cd $$module && $(GO) vet ./...) && $(STEP) nested $(GO) test -C $$module ./... || exit 1; done

# Figures, not verdicts: outside CI, on a quiet machine.
bench:
	.ci/bench

# Every fuzz target for a short while.
fuzz:
	.ci/fuzz

prerequisites:
	.ci/prerequisites

slowest:
	@$(STEP) -slowest

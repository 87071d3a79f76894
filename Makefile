# The two commands a newcomer needs are `make demo` and `make test`.

GO          ?= go
STATICCHECK  = honnef.co/go/tools/cmd/staticcheck@v0.8.2
PACKAGES     = ./...
NESTED       = integration/bench/json integration/bench/metrics integration/bench/radix integration/bench/pii

.PHONY: demo test build lint unit nested race callgraph bench fuzz prerequisites

# Shows what cache-aware routing gives, on simulated engines, in one process.
demo:
	$(GO) run ./cmd/caddy kv-demo

# Everything CI runs. Installs what a fresh Debian machine with Go lacks. With
# CI set, tests that find something missing fail; else they are skipped.
test: export CI = true
test: prerequisites lint build unit nested race callgraph

# The gateway as one binary, ./caddy.
build:
	$(GO) build -o caddy ./cmd/caddy

lint:
	@unformatted=$$(gofmt -l $$(git ls-files --cached --others --exclude-standard '*.go')); \
	if [ -n "$$unformatted" ]; then echo "not gofmt'ed:"; echo "$$unformatted"; exit 1; fi
	$(GO) vet $(PACKAGES)
	$(GO) run $(STATICCHECK) $(PACKAGES)

# Without the race detector: allocation counts are only right here.
unit:
	$(GO) test -timeout 15m $(PACKAGES)

# Times are compared in the run above only: the detector changes them.
race:
	GORACE=halt_on_error=1 $(GO) test -race -timeout 20m $(PACKAGES)

# That no code of ours can write a file. A module of its own, so that nobody
# who builds the gateway builds the analysis.
callgraph:
	cd integration/volatile/callgraph && $(GO) vet ./... && $(GO) run $(STATICCHECK) ./... && $(GO) test -count=1 -timeout 10m ./...

# Modules of their own, with dependencies that users of the gateway never see.
nested:
	for module in $(NESTED); do (cd $$module && $(GO) vet ./... && $(GO) test ./...) || exit 1; done

# Figures, not verdicts: outside CI, on a quiet machine.
bench:
	.ci/bench

# Every fuzz target for a short while.
fuzz:
	.ci/fuzz

prerequisites:
	.ci/prerequisites

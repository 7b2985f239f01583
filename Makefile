# What one does with this repository. Everything sets itself up: see scripts/.

# Go may be installed and not on PATH, as its own instructions leave it.
export PATH := $(PATH):/usr/local/go/bin

GO      ?= go
VERSION ?= $(shell git describe --tags --always --dirty 2>/dev/null || echo dev)
LDFLAGS := -s -w -X main.version=$(VERSION)
BUILD   := CGO_ENABLED=0 $(GO) build -trimpath -ldflags '$(LDFLAGS)'

# Tools, pinned; `go run` fetches them.
STATICCHECK := honnef.co/go/tools/cmd/staticcheck@v0.8.2
GOVULNCHECK := golang.org/x/vuln/cmd/govulncheck@v1.8.0

FUZZTIME ?= 20s
COUNT    ?= 1

.DEFAULT_GOAL := build
.PHONY: run build cross test lint fuzz soak bench conformance cover clean

build: ## bin/nbserv
	$(BUILD) -o bin/nbserv ./cmd/nbserv

run: build ## a server with a Python kernel of its own; ARGS are further flags
	@scripts/run.sh $(ARGS)

test: ## every test, with real kernels where they can be had
	@scripts/test.sh -count=$(COUNT) ./...

conformance: build ## jupyter_server's and jupyterlab_server's own tests against bin/nbserv; fails under 95 %
	@scripts/conformance.sh $(AREAS)

cross: ## the platforms that releases are built for
	@for p in linux/amd64 linux/arm64 darwin/amd64 darwin/arm64; do \
		echo "$$p"; GOOS=$${p%/*} GOARCH=$${p#*/} $(BUILD) -o bin/nbserv-$${p%/*}-$${p#*/} ./cmd/nbserv || exit 1; \
	done

lint: ## gofmt, vet, staticcheck, govulncheck
	@bad=$$(gofmt -l $$(git ls-files '*.go')); [ -z "$$bad" ] || { echo "gofmt would change:"; echo "$$bad"; exit 1; }
	$(GO) vet ./...
	$(GO) run $(STATICCHECK) ./...
	@scripts/govulncheck.sh $(GOVULNCHECK)

fuzz: ## every fuzz target for FUZZTIME
	@scripts/fuzz.sh $(FUZZTIME)

soak: ## the fault suite in its long form, an hour; then 10,000 sessions come and go, CYCLES is another number; then an upload of 3 GB
	@NBSERV_SOAK=1 scripts/test.sh -timeout=3h -count=1 -v ./e2e/faults
	NBSERV_E2E_CYCLES=$(or $(CYCLES),10000) $(GO) test -count=1 -v -timeout 4h -run 'TestNothingIsLeftBehind_P11' ./e2e
	@NBSERV_E2E_UPLOAD_GB=3 scripts/test.sh -timeout=1h -count=1 -v -run TestLargeUploadThroughJupyterLab ./e2e

bench: build ## nbserv beside jupyter_server; BENCH="relay rest" measures these groups only
	@scripts/bench.sh

cover: ## cover.html
	@scripts/test.sh -coverprofile=cover.out -coverpkg=./... ./...
	$(GO) tool cover -html=cover.out -o cover.html
	$(GO) tool cover -func=cover.out | tail -n 1

clean:
	rm -rf bin cover.out cover.html

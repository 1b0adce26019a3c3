# make help lists the targets. Works with the make of macOS (3.81) too.

GO        ?= go
DOCKER    ?= docker
IMAGE     ?= weir:local
FUZZTIME  ?= 10s
N         ?= 500000
SEEDS     ?=
SEED      ?=
TURNS     ?= 5
TESTFLAGS ?=
PLATFORMS ?= linux/amd64 linux/arm64 darwin/amd64 darwin/arm64

.DEFAULT_GOAL := help
.PHONY: help build test check unit scenarios simulation mutants deps cross fuzz chaos bench bench-check curves flow plot image \
	licences sbom govulncheck clean

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## /{printf "  make %-11s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

build: ## bin/producer and bin/worker, static
	CGO_ENABLED=0 $(GO) build -trimpath -o bin/ ./producer ./worker

test: deps check unit scenarios ## all but simulation, mutants, chaos and fuzz; installs what it needs

check: ## go vet, gofmt, and modules as go.sum has them
	$(GO) mod verify
	$(GO) vet ./...
	@unformatted=$$(gofmt -l .); if [ -n "$$unformatted" ]; then \
		echo "gofmt -w these files:" >&2; echo "$$unformatted" >&2; exit 1; fi

unit: deps ## every package but the scenarios, with the race detector
	$(GO) test -race -timeout 15m $(TESTFLAGS) $$($(GO) list ./... | grep -v '/integration_test')

# By themselves: they measure time, and other packages' tests would be measured with them.
# Against a Redis of their own; what some have measured is printed at the end. TESTFLAGS=-v shows
# what each one shows.
scenarios: deps ## the built commands on a real Redis, with real signals
	@figures=$$(mktemp) && trap 'cat $$figures; rm $$figures' EXIT && WEIR_TEST_FIGURES=$$figures \
		$(GO) test -race -count=1 -timeout 45m $(TESTFLAGS) $$($(GO) list ./integration_test/... | grep -v /simulation)

# Without the race detector, for many seeds: unit tests have it for the same code.
simulation: ## seeded faults in simulated time; SEEDS=1000 for so many, SEED=N for one
	$(GO) test -count=1 -timeout 60m $(TESTFLAGS) ./integration_test/simulation $(if $(SEEDS),-seeds=$(SEEDS)) $(if $(SEED),-seed=$(SEED) -v)

mutants: ## that the simulation fails when weir misses a guard
	$(GO) test -count=1 -timeout 30m $(TESTFLAGS) ./integration_test/simulation/mutants

# redis-server, nginx, Prometheus, tmux and a browser for the scenarios; a C compiler because Linux' race
# detector is linked by it.
# No service of theirs is started: the tests have their own.
deps:
	@need=; \
	command -v redis-server >/dev/null || need="redis-server"; \
	command -v tmux >/dev/null || need="$$need tmux"; \
	command -v nginx >/dev/null || [ -x /usr/sbin/nginx ] || need="$$need nginx-light"; \
	command -v promtool >/dev/null && command -v prometheus >/dev/null || need="$$need prometheus"; \
	{ command -v prometheus-alertmanager >/dev/null || command -v alertmanager >/dev/null; } && command -v amtool >/dev/null || \
		need="$$need prometheus-alertmanager"; \
	command -v chromium >/dev/null || command -v chromium-browser >/dev/null || command -v google-chrome >/dev/null || \
		[ -d "/Applications/Google Chrome.app" ] || need="$$need chromium"; \
	if [ "$$(uname)" = Linux ] && ! command -v gcc >/dev/null && ! command -v "$$($(GO) env CC)" >/dev/null; then \
		need="$$need gcc libc6-dev"; fi; \
	[ -n "$$need" ] || exit 0; \
	if [ "$$(id -u)" = 0 ]; then sudo=; else sudo=sudo; fi; \
	if command -v apt-get >/dev/null; then \
		echo "installing $$need"; \
		policy=/usr/sbin/policy-rc.d; mine=; \
		if [ ! -e $$policy ]; then \
			printf '#!/bin/sh\nexit 101\n' | $$sudo tee $$policy >/dev/null; $$sudo chmod +x $$policy; mine=1; fi; \
		$$sudo apt-get update -qq && \
		DEBIAN_FRONTEND=noninteractive $$sudo apt-get install -y -qq --no-install-recommends $$need >/dev/null; \
		status=$$?; [ -z "$$mine" ] || $$sudo rm -f $$policy; exit $$status; \
	elif command -v brew >/dev/null; then \
		need=$$(echo "$$need" | sed 's/redis-server/redis/; s/nginx-light/nginx/; s/chromium/google-chrome/; s/prometheus-alertmanager/alertmanager/'); \
		echo "installing $$need"; brew install --quiet $$need; \
	else \
		echo "please install $$need: here is neither apt-get nor brew" >&2; exit 1; \
	fi

cross: ## that every platform builds, without cgo
	@for p in $(PLATFORMS); do \
		echo "build for $$p"; \
		CGO_ENABLED=0 GOOS=$${p%/*} GOARCH=$${p#*/} $(GO) build -o /dev/null ./... || exit 1; \
	done

# -fuzz takes one test at a time, and spends most of the first seconds with building: so two
# at once, each with one worker. Its minimizing would take a minute for each find.
fuzz: ## each fuzz test for FUZZTIME (10s), two at once
	@grep -ro '^func Fuzz[A-Za-z0-9_]*' --include='*_test.go' . | sed 's,/[^/]*:func , ,' | sort | \
		GO='$(GO)' xargs -n 2 -P 2 sh -c '.ci/fuzz "$$0" "$$1" $(FUZZTIME)'

# CHAOS_SEED=7 repeats the timeline of the storm that printed it.
chaos: deps ## the storm at full size, and the checker's verdict; N=10000000 is the long one
	CHAOS_N=$(N) $(GO) test -v -count=1 -timeout 24h -run '^TestStorm$$' ./integration_test

bench: deps ## weir beside raw asynq, in turns, as a table; TURNS=1 is quicker
	$(GO) run ./integration_test/bench -turns $(TURNS)

bench-check: deps ## a few rows of it: fails where a ratio is less than it was by more than 15%
	$(GO) run ./integration_test/bench -turns 9 -check integration_test/bench/ratios.csv

curves: deps ## integration_test/plot/scale.svg: how speed and cost grow with workers, lanes, window, payload
	$(GO) run ./integration_test/bench -curves -turns $(TURNS) >integration_test/plot/scale.csv && \
		$(GO) -C integration_test/plot run . scale <integration_test/plot/scale.csv >integration_test/plot/scale.svg

flow: deps ## every scenario of flow control with six seeds through the script, and 200 services
	$(GO) test -count=1 -v -timeout 30m $(TESTFLAGS) -run 'Scenarios|Services' ./internal/lane/governor -full

plot: deps ## integration_test/plot/flow.svg: how a lane followed nginx
	dir=$$(mktemp -d) && WEIR_TEST_CSV=$$dir \
		$(GO) test -count=1 -timeout 10m -run 'RealServices/limit_conn_20,_10,_40/four' ./integration_test && \
		$(GO) -C integration_test/plot run . flow <$$dir/limit_conn-20-10-40.csv >integration_test/plot/flow.svg

image: ## the container image, weir:local
	$(DOCKER) build -t $(IMAGE) .

# go-licenses looks for pages that nobody asks it for, and says so for each that it does not find.
licences: ## deploy/sbom/licences.md: of every module in the two commands
	@mkdir -p bin
	GOBIN=$(CURDIR)/bin $(GO) install github.com/google/go-licenses@v1.6.0
	GOROOT=$$($(GO) env GOROOT) GOOS=linux CGO_ENABLED=0 bin/go-licenses report ./producer ./worker \
		--ignore github.com/weir-tasks/weir --template deploy/sbom/licences.tmpl >bin/licences.md 2>bin/licences.log || \
		{ cat bin/licences.log >&2; exit 1; }
	mv bin/licences.md deploy/sbom/licences.md

sbom: build ## bin/sbom.json: bill of materials of the two commands, CycloneDX
	$(GO) run ./deploy/sbom bin/producer bin/worker >bin/sbom.json

# Not in CI: it asks a server that not every network reaches. What is known of modules in
# use is in integration_test/supply_test.go, too.
govulncheck: ## known vulnerabilities in what the code calls; needs vuln.go.dev
	@curl -fsS -m 20 -o /dev/null https://vuln.go.dev/index/db.json || { \
		echo "make govulncheck: https://vuln.go.dev, which lists the vulnerabilities, is not reached from here" >&2; exit 1; }
	$(GO) run golang.org/x/vuln/cmd/govulncheck@v1.8.0 ./...

clean: ## remove what the other targets made
	rm -rf bin

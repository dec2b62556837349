# "make help" lists what there is to make.

SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.NOTPARALLEL:
.PHONY: build man demo picture check test test-all deps modules vet lint test-unit test-unit-all test-arm64 \
	test-parts test-e2e test-e2e-all torture bench cross release fuzz clean help

STATICCHECK := honnef.co/go/tools/cmd/staticcheck@v0.8.2
PLATFORMS   := linux/amd64 linux/arm64 darwin/amd64 darwin/arm64 windows/amd64 windows/arm64
FUZZTIME    ?= 20s

# The release, when exactly a tagged commit is built. A build of any other
# commit names itself by what the Go toolchain stamps.
RELEASE := $(shell git describe --tags --exact-match --match 'v[0-9]*' --dirty=-dirty 2>/dev/null | grep -v -e -dirty)
LDFLAGS := -s -w$(if $(RELEASE), -X main.release=$(RELEASE))

# A static binary, so that it can run on any node of its platform.
GO_BUILD := CGO_ENABLED=0 go build -trimpath -ldflags '$(LDFLAGS)'

BIN  ?= bin
DIST ?= dist

# $(call agents,DIR) builds the program for nodes, into DIR, and then sets the shell
# variable stamp to what tells another build of it which agents are its own.
AGENTS := amd64 arm64
agents = sha256() { { sha256sum "$$1" 2>/dev/null || shasum -a 256 "$$1"; } | cut -c1-64; }; \
	stamp='-X main.agents='; \
	for arch in $(AGENTS); do \
		GOOS=linux GOARCH=$$arch GOAMD64=v1 GOARM64=v8.0 $(GO_BUILD) -o $(1)/dapbridge-linux-$$arch ./cmd/dapbridge; \
		stamp+=$$arch=$$(sha256 $(1)/dapbridge-linux-$$arch),; \
	done

build: ## build bin/dapbridge, and beside it the agents for nodes
	@$(call agents,$(BIN)); \
	$(GO_BUILD) -ldflags '$(LDFLAGS) '"$$stamp" -o $(BIN)/dapbridge$$(go env GOEXE) ./cmd/dapbridge

man: build ## write the manual pages to dist/man/man1
	bin/dapbridge man dist/man/man1

demo: build ## show a session without a node
	bin/dapbridge demo

picture: build ## draw docs/demo.svg, the picture in README.md
	go run ./docs/picture docs/demo.svg bin/dapbridge demo

# $(call parts,TARGETS) makes targets one after the other, and says how long each took.
parts = @for part in $(1); do \
		start=$$SECONDS; \
		$(MAKE) --no-print-directory $$part; \
		echo "== make $$part: $$((SECONDS - start)) s"; \
	done

check: ## what to type while you work: lint and the quick unit tests
	$(call parts,modules lint test-quick)

test: ## check, and a real node with what matters most (root on Linux)
	$(call parts,deps modules lint test-unit test-parts test-e2e)

# DAPBRIDGE_TEST=all has the tests of the second tier run (internal/testenv).
test-all: export DAPBRIDGE_TEST := all
test-all: ## all tests, on two real nodes: what CI runs
	$(call parts,deps modules lint test-unit-all test-arm64 test-parts test-e2e-all)

deps: # installs Debian packages when we are root
	@.ci/apt $${DAPBRIDGE_TEST:-}

# Building and fetching are steps of their own, which no test's deadline counts.
modules: # fetches what tests read from the module cache
	@.ci/modules $${DAPBRIDGE_TEST:-}

lint: ## vet, staticcheck, formatting and the rules of internal/archtest
	go vet ./...
	go run $(STATICCHECK) ./...
	go test ./internal/archtest

# A worker with a race-detecting Delve in it takes ten times as long, and Delve's
# own halts race: of the agent's tests, those of its own concurrency run under the
# detector, and then all without it. internal/host/symbols/twin's test program is started as
# -toolexec for each package that is built, which the detector makes slow.
RACING := TestConnect|TestLinkIsLost|TestErrors|TestEvents|TestJoin|TestSessions|TestRelease|TestClientLeaves|TestStream|TestRegistry|TestRPCSession

UNIT := go list ./... | grep -v -e '/e2e$$' -e '/e2e/'

test-quick: # needs neither root nor a node
	go test -short $$($(UNIT))

# The packages in which goroutines meet.
CONCURRENT := /bridge$$|/host/(link|control|serve|srcsync|sshconn|execconn|remote)$$|/idle$$|/dapclient$$

test-unit: # needs no node
	go test -race $$($(UNIT) | grep -E '$(CONCURRENT)')
	go test -race -run '$(RACING)' ./internal/agent/...
	go test $$($(UNIT) | grep -vE '$(CONCURRENT)')

test-unit-all: # needs no node
	go test -race $$($(UNIT) | grep -v -e '/internal/agent/' -e '/symbols/twin$$')
	go test -race -run '$(RACING)' ./internal/agent/...
	go test ./internal/agent/... ./internal/host/symbols/twin

# Of arm64 everything but tracing: what reads and computes, and (TestARM64Host in
# e2e) the whole program. Tests that start their own binary again, or look at
# other processes, would see the emulator.
ARM64      := ./bridge ./pathmap ./vscode ./goland $(addprefix ./internal/,diag dapclient host/node host/recipe host/symbols/debugfile host/gosource)
ARM64_SOME := 'Parse|StatRef|Status|TestUnit|Segments|Traps|Sections|Obstacles|Fuzz|TestConnect|TestLinkIsLost|TestErrors|TestEvents|Hostile|Debugger|StoreSymbols'

test-arm64: # under an emulator
	@if command -v qemu-aarch64 >/dev/null; then \
		export CGO_ENABLED=0 GOARCH=arm64; set -x; \
		go test -exec qemu-aarch64 $(ARM64); \
		go test -exec qemu-aarch64 -run $(ARM64_SOME) ./internal/exe ./internal/agent/procfs ./internal/agent/supervisor ./internal/host/link ./internal/host/peer; \
	elif [ "$${CI:-}" = true ]; then \
		echo 'arm64 tests: need qemu-user, and CI may not skip them' >&2; exit 1; \
	else \
		echo 'skipped: arm64 tests, which need qemu-aarch64 (apt-get install qemu-user)'; \
	fi

# $(call as-root,COMMANDS) runs them as root on Linux, and says so elsewhere.
as-root = @if [ "$$(uname -s) $$(id -u)" = 'Linux 0' ]; then \
		set -x; $(1); \
	elif [ "$${CI:-}" = true ]; then \
		echo '$@: needs root on Linux, and CI may not skip it' >&2; exit 1; \
	else \
		echo 'skipped: $@, which needs root on Linux (sudo make test)'; \
	fi

test-parts: # builds what nodes are made of
	$(call as-root,go run ./e2e/testnode prepare $${DAPBRIDGE_TEST:+--all})

E2E := go test -count=1 -timeout 20m

test-e2e: # boots a node
	$(call as-root,$(E2E) ./e2e/...)

# Two nodes side by side, since a test on a node mostly waits. The first has the
# tests that build, which find what an earlier run has built by the node's name.
E2E_FIRST := ^Test(Deploy|F|S|T|U|W)

test-e2e-all: # boots two nodes
	$(call as-root, \
		{ $(E2E) ./e2e/internal/... ./e2e/testnode && DAPBRIDGE_E2E_NODE=dapbridge-e2e-2 $(E2E) -skip '$(E2E_FIRST)' ./e2e; } & second=$$!; \
		$(E2E) -run '$(E2E_FIRST)' ./e2e && first=0 || first=$$?; \
		wait $$second && exit $$first)

bench: ## measure; beside dlv over ssh -L on a real node (root)
	@.ci/apt inotify-tools lsyncd
	go test -run '^$$' -bench . ./pathmap ./bridge
	go test -run '^$$' -bench . -benchtime 1x -timeout 20m ./internal/host/symbols/twin
	go test -run '^$$' -bench . -benchtime 1x -timeout 20m ./e2e

COUNT    ?= 10
SEED     ?=
DURATION ?= 10m

torture: export DAPBRIDGE_TEST := all
torture: export DAPBRIDGE_TORTURE_COUNT := $(COUNT)
torture: export DAPBRIDGE_TORTURE_SEED := $(SEED)
torture: export DAPBRIDGE_TORTURE_DURATION := $(DURATION)
torture: modules test-parts ## repeat what is random COUNT (10) times as often, for DURATION (10m), from SEED
	@failed=; \
	files=$$(grep -rlE 'testenv\.(Rounds|Seed|Lasts)\(' --include='*_test.go' bridge e2e internal); \
	for dir in $$(dirname $$files | sort -u); do \
		names=$$(grep -hoE '^func Test[A-Za-z0-9]+' $$(printf '%s\n' $$files | grep "^$$dir/[^/]*$$") | cut -c6- | paste -sd '|'); \
		(set -x; go test -count=1 -timeout 0 -run "^($$names)$$" ./$$dir) || failed=1; \
	done; \
	[ -z "$$failed" ]

cross: ## build dist/dapbridge-OS-ARCH for every platform, and vet all packages and tests there
	@for platform in $(PLATFORMS); do \
		export GOOS=$${platform%/*} GOARCH=$${platform#*/} CGO_ENABLED=0; \
		out=dist/dapbridge-$$GOOS-$$GOARCH; \
		if [ $$GOOS = windows ]; then out=$$out.exe; fi; \
		start=$$SECONDS; \
		$(GO_BUILD) -o $$out ./cmd/dapbridge; \
		go vet ./...; \
		echo "$$out: $$((SECONDS - start)) s"; \
	done

release: ## pack dist/dapbridge-VERSION-OS-ARCH.tar.gz for every platform, with the agents (RELEASE=v1.2.3 names an untagged one)
	@[ -n '$(RELEASE)' ] || { echo 'make release: check out the tag of a release without changes, or name one: make release RELEASE=v1.2.3' >&2; exit 1; }; \
	rm -rf $(DIST)/agents; \
	$(call agents,$(DIST)/agents); \
	cp LICENSE $(DIST)/agents; \
	for platform in $(PLATFORMS); do \
		export GOOS=$${platform%/*} GOARCH=$${platform#*/}; \
		program=dapbridge; \
		if [ $$GOOS = windows ]; then program=dapbridge.exe; fi; \
		$(GO_BUILD) -ldflags '$(LDFLAGS) '"$$stamp" -o $(DIST)/$$GOOS-$$GOARCH/$$program ./cmd/dapbridge; \
		archive=$(DIST)/dapbridge-$(RELEASE)-$$GOOS-$$GOARCH.tar.gz; \
		tar -czf $$archive -C $(DIST)/$$GOOS-$$GOARCH $$program -C ../agents LICENSE $(AGENTS:%=dapbridge-linux-%); \
		echo "$$archive"; \
	done

fuzz: ## run each fuzz target for FUZZTIME (20s)
	@grep -rl --include='*_test.go' '^func Fuzz' . | sort | while read -r file; do \
		for target in $$(sed -n 's/^func \(Fuzz[A-Za-z0-9_]*\)(.*/\1/p' $$file); do \
			echo "== $$target ($$file)"; \
			go test -run '^$$' -fuzz "^$$target\$$" -fuzztime $(FUZZTIME) $$(dirname $$file) </dev/null; \
		done; \
	done

clean: ## remove what was built here
	rm -rf bin dist

help: ## this list
	@sed -n 's/^\([a-z-]*\):[a-z -]*## \(.*\)/\1\t\2/p' $(MAKEFILE_LIST) | while IFS=$$'\t' read -r name text; do \
		printf '  %-8s %s\n' "$$name" "$$text"; \
	done

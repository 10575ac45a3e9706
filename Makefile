# shellspawn: build, try, test, measure, install. `make` builds.

PREFIX  ?= /usr/local
BINDIR   = $(PREFIX)/bin
MANDIR   = $(PREFIX)/share/man
UNITDIR ?= $(PREFIX)/lib/systemd
VERSION ?= $(shell git describe --tags --always --dirty 2>/dev/null || echo devel)

GO      ?= go
GOBUILD  = CGO_ENABLED=0 $(GO) build -trimpath -ldflags '-s -w -X main.version=$(VERSION)'
STATICCHECK = $(GO) run honnef.co/go/tools/cmd/staticcheck@v0.8.2
FUZZTIME ?= 1m

.PHONY: all build run test unit race ordinary check vet bench bench-check fuzz install uninstall clean

all: build

build:
	$(GOBUILD) -o bin/ ./cmd/shellspawn ./cmd/darling-shell

# A shell through a private daemon; without a terminal, one command.
run: build
	@sh testdata/run.sh

test: unit race ordinary

# Unit and end-to-end tests, as whoever calls.
unit:
	$(GO) test -timeout 20m ./...

# The same code under the race detector; end to end with programs built so.
race:
	SHELLSPAWN_TEST_RACE=1 CGO_ENABLED=1 $(GO) test -race -short -timeout 20m ./...

# As root: the packages once more as an ordinary user.
ordinary:
	@sh testdata/ordinary.sh $(GO)

check:
	@test -z "$$(gofmt -l .)" || { gofmt -l .; echo 'gofmt: the files above are not formatted' >&2; exit 1; }
	$(GO) vet ./...
	GOARCH=arm64 $(GO) vet ./ptyexec/... ./spawnsock/...
	$(STATICCHECK) ./...
	$(GO) test -run 'TestDocs|TestImports' ./cmd/... ./internal/...

vet:
	$(GO) vet ./...

bench: build
	$(GO) run ./internal/bench

bench-check: build
	$(GO) run ./internal/bench -short

fuzz:
	@FUZZTIME=$(FUZZTIME) sh testdata/fuzz.sh $(GO)

install: build
	install -D -m 0755 bin/shellspawn $(DESTDIR)$(BINDIR)/shellspawn
	install -D -m 0755 bin/darling-shell $(DESTDIR)$(BINDIR)/darling-shell

clean:
	rm -rf bin

# shellspawn: build, try, test, measure, install. `make` builds.

PREFIX  ?= /usr/local
BINDIR   = $(PREFIX)/bin
SHAREDIR = $(PREFIX)/share
MANDIR   = $(SHAREDIR)/man
BASHDIR  = bash-completion/completions
ZSHDIR   = zsh/site-functions
FISHDIR  = fish/vendor_completions.d
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

# The same code under the race detector; end to end with programs built so, for
# what the two programs do with several goroutines.
RACE_E2E = TestA5Resize|TestC1|TestB2|TestB6F|TestA9|TestJSONKeys|TestKillSends|TestBacklogWhile|TestReloadL
race:
	CGO_ENABLED=1 $(GO) test -race -timeout 20m ./internal/... ./spawnsock/... ./ptyexec/...
	SHELLSPAWN_TEST_RACE=1 CGO_ENABLED=1 $(GO) test -timeout 20m -run '$(RACE_E2E)' ./cmd/...

# As root: the packages once more as an ordinary user.
ordinary:
	@sh testdata/ordinary.sh $(GO)

check: build
	@test -z "$$(gofmt -l .)" || { gofmt -l .; echo 'gofmt: the files above are not formatted' >&2; exit 1; }
	$(GO) vet ./...
	GOARCH=arm64 $(GO) vet ./ptyexec/... ./spawnsock/... ./internal/selfpipe ./internal/client
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

# The units name the place of the programs; everything else is copied as it is.
install: build
	install -D -m 0755 -t $(DESTDIR)$(BINDIR) bin/shellspawn bin/darling-shell
	install -D -m 0644 -t $(DESTDIR)$(MANDIR)/man8 dist/man/shellspawn.8
	install -D -m 0644 -t $(DESTDIR)$(MANDIR)/man1 dist/man/darling-shell.1
	for kind in system user; do \
		from=dist/systemd; [ $$kind = system ] || from=dist/systemd/user; \
		install -d $(DESTDIR)$(UNITDIR)/$$kind; \
		for unit in $$from/*.socket $$from/*.service; do \
			sed 's|/usr/local/bin/|$(BINDIR)/|' $$unit >$(DESTDIR)$(UNITDIR)/$$kind/$${unit##*/} || exit 1; \
			chmod 0644 $(DESTDIR)$(UNITDIR)/$$kind/$${unit##*/}; \
		done; \
	done
	install -d $(addprefix $(DESTDIR)$(SHAREDIR)/,$(BASHDIR) $(ZSHDIR) $(FISHDIR))
	for p in shellspawn darling-shell; do \
		install -m 0644 dist/completions/$$p.bash $(DESTDIR)$(SHAREDIR)/$(BASHDIR)/$$p; \
		install -m 0644 dist/completions/_$$p $(DESTDIR)$(SHAREDIR)/$(ZSHDIR)/_$$p; \
		install -m 0644 dist/completions/$$p.fish $(DESTDIR)$(SHAREDIR)/$(FISHDIR)/$$p.fish; \
	done

uninstall:
	for p in shellspawn darling-shell; do \
		rm -f $(DESTDIR)$(BINDIR)/$$p $(DESTDIR)$(MANDIR)/man[18]/$$p.[18] \
			$(DESTDIR)$(UNITDIR)/system/$$p*.s* $(DESTDIR)$(UNITDIR)/user/$$p*.s* \
			$(DESTDIR)$(SHAREDIR)/$(BASHDIR)/$$p $(DESTDIR)$(SHAREDIR)/$(ZSHDIR)/_$$p \
			$(DESTDIR)$(SHAREDIR)/$(FISHDIR)/$$p.fish; \
	done

clean:
	rm -rf bin

# make            bin/kingpin, static
# make run        mount /var/kingpin on this machine and look around; Ctrl-C unmounts. MOUNT= and STATE= for other places
# make fleet      a real ZooKeeper, a real S3 server and two monitors, /tmp/kingpin/a and b; Ctrl-C ends all. FLEET= for another place
# make check      everything a change must pass; installs what the tests need on Debian
# make soak       the long tests, and some minutes of fuzzing
# make bench      our figures beside the bare thing, measured in the same run
# make generate   the Thrift code of the examples and the tests again, by Debian's thrift-compiler
# make help       these lines

SHELL       := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := build
.NOTPARALLEL:

MOUNT ?= /var/kingpin
STATE ?= .state
FLEET ?= /tmp/kingpin
GROUP ?= $(shell id -gn $${SUDO_USER:-})

STATICCHECK := .bin/staticcheck-0.8.2
VERSITYGW   := .bin/versitygw-1.8.0
FUZZTIME    ?= 30s

sudo     := $(if $(filter 0,$(shell id -u)),,sudo)
packages  = $$(go list ./... | grep -v /integration)
beside    = -p 4 # packages at once: most of their tests wait rather than work
patience  = -timeout 60m # of a slow machine; what hangs is stopped by its own test
compile   = @go test $(1) -exec true $(packages) > /dev/null # before the tests run: a compiler beside them takes the time they need
stage     = @printf '\n== %s  %s\n' "$$(date +%T)" '$(1)'

.PHONY: build run fleet check soak bench generate help clean bin/kingpin bin/bench bin/fleet
.PHONY: stages tools vet staticcheck gofmt unit conformance integration race integration-race integration-1

build: bin/kingpin

bin/kingpin:
	@echo building $@
	@CGO_ENABLED=0 go build -trimpath -o $@ ./cmd/kingpin

monitor = bin/kingpin monitor --state $(STATE) --demo --hints --publish-group $(GROUP)$(if \
	$(filter /var/kingpin,$(MOUNT)),, --mount $(MOUNT))

run: bin/kingpin
	@[[ -d $(MOUNT) ]] || $(sudo) mkdir -p $(MOUNT)
	@echo '$(if $(sudo),mounting needs root: sudo )$(monitor)'
	@exec $(sudo) $(monitor)

fleet: bin/kingpin bin/fleet $(VERSITYGW)
	@.ci/tools fleet
	@exec $(sudo) bin/fleet -kingpin bin/kingpin -group $(GROUP) -mounts $(FLEET)

bin/fleet:
	@go build -o $@ ./integration/fleet

check: tools
	@.ci/leave-nothing $(MAKE) --no-print-directory stages

stages: vet staticcheck gofmt unit conformance integration race integration-race integration-1
	$(call stage,passed)

tools:
	$(call stage,tools)
	@.ci/tools

vet:
	$(call stage,vet)
	@go vet ./...
	@go vet -tags soak ./integration

staticcheck: $(STATICCHECK)
	$(call stage,staticcheck)
	@$(STATICCHECK) ./...
	@$(STATICCHECK) -tags soak ./integration

$(STATICCHECK):
	$(call stage,building staticcheck)
	@GOBIN=$$PWD/.bin go install honnef.co/go/tools/cmd/staticcheck@v0.8.2
	@mv .bin/staticcheck $@

# The S3 server of the tests. Its requirements would move ours, so no tool directive of go.mod names it.
$(VERSITYGW):
	$(call stage,building the S3 server (once, some 80 s))
	@GOBIN=$$PWD/.bin go install github.com/versity/versitygw/cmd/versitygw@v1.8.0
	@ln -f .bin/versitygw $@

gofmt:
	$(call stage,gofmt)
	@unformatted=$$(gofmt -l .); [[ -z $$unformatted ]] || { echo "gofmt -w" $$unformatted >&2; exit 1; }

unit: $(VERSITYGW)
	$(call stage,unit tests)
	$(call compile)
	@.ci/gotest $(patience) $(beside) $(packages)

conformance: $(VERSITYGW)
	$(call stage,conformance of the registries)
	@.ci/gotest -count=1 $(patience) -run Conformance ./registry/... ./sync/mirror

integration: $(VERSITYGW) bin/kingpin bin/fleet
	$(call stage,the built binary on real mounts)
	@.ci/gotest -count=1 -parallel 4 $(patience) ./integration

# Some deadlocks between a file system and its own process show only on one processor. The race detector leaves the other one idle.
race: $(VERSITYGW)
	$(call stage,unit tests under the race detector; beside them the mount with GOMAXPROCS=1)
	$(call compile,-race)
	@.ci/beside '.ci/gotest -race $(patience) $(beside) $(packages)' \
		'GOMAXPROCS=1 .ci/gotest -count=1 $(patience) ./fs/...'

# The stories that put load on a mount: worth telling again under other circumstances.
load := ^Test(Torn|Events|Gestures|Restart)

integration-race:
	$(call stage,a binary with the race detector on real mounts)
	@KINGPIN_RACE=1 .ci/gotest -count=1 $(patience) -run '$(load)' ./integration

integration-1:
	$(call stage,the built binary with GOMAXPROCS=1)
	@GOMAXPROCS=1 .ci/gotest -count=1 $(patience) -run '$(load)' ./integration

soak: tools $(VERSITYGW)
	@KINGPIN_SOAK=1 .ci/leave-nothing .ci/gotest -tags soak -count=1 -timeout 2h $(packages)
	@KINGPIN_SOAK=1 .ci/leave-nothing .ci/gotest -tags soak -count=1 -timeout 2h -run 'Soak|Fleet|Upgrade' ./integration
	@go list -f '{{.ImportPath}} {{.Dir}}' ./... | while read -r package dir; do \
		for target in $$(grep -hoE '^func Fuzz\w+' "$$dir"/*_test.go | cut -d' ' -f2); do \
			echo "== $$package $$target"; \
			go test -run '^$$' -fuzz "^$$target\$$" -fuzztime $(FUZZTIME) "$$package"; \
		done; done

bench: bin/kingpin bin/bench $(VERSITYGW)
	@.ci/tools bench
	@.ci/leave-nothing $(sudo) bin/bench -kingpin bin/kingpin

bin/bench:
	@go build -o $@ ./integration/bench

# The compiler's version is in the head of each file: another one than Debian's makes a large diff, and says so.
generate:
	@.ci/tools generate
	@thrift --gen go:skip_remote -out examples/thrift examples/thrift/test_service.thrift
	@thrift --gen go:skip_remote -out integration/storm integration/storm/storm.thrift
	@gofmt -w examples/thrift/testservice integration/storm/stormservice

help:
	@sed -n 's/^# \(make .*\)/\1/p' Makefile

clean:
	rm -rf bin .bin

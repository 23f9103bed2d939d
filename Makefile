# make demo            four guests leave one host for three others, before your eyes
# make test            everything: set-up, check, fuzz, long, lab
# make check           the fast half: formatting, vet, staticcheck, unit tests with the race detector
# make long            the tests that check leaves out because they take long
# make lab             tests with network namespaces and real QEMU guests; needs root
# make fuzz            a few seconds for each fuzz target
# make bench-evacuate  scatter beside stock QEMU, as a table; with BENCH=-real the guests are Debians with a busy Redis
# make bench-modes     guests that are hard to move, scatter beside stock QEMU, in half an hour
# make bench-traffic   a host whose guests load its link, scatter beside stock QEMU, in a quarter of an hour
# make bench-disks     a host whose guests have disks of their own there, scatter beside stock QEMU, in a quarter of an hour
# make bench-placement what placements cost beside those of simple rules, in ten minutes
# make bench-prediction what evacuations take beside what their plans say, in three minutes
# make bench-multicast one source to many targets: scatter beside uftp, udpcast and TCP, in a quarter of an hour
#
# setup installs what is missing on Debian 12 or newer.

SHELL := bash
.SHELLFLAGS := -euo pipefail -c
GO ?= go
FUZZTIME ?= 2s

.PHONY: build setup check fuzz long lab test demo bench-evacuate bench-modes bench-placement bench-prediction bench-multicast bench-traffic bench-disks clean

build:
	CGO_ENABLED=0 $(GO) build -trimpath -o bin/scatter ./cmd/scatter

setup:
	bench/setup.sh

check: setup
	unformatted=$$(gofmt -l .); if [[ -n $$unformatted ]]; then echo "not formatted: $$unformatted" >&2; exit 1; fi
	$(GO) vet ./...
	$(GO) vet -tags lab ./...
	$(GO) tool -modfile=bench/tools/go.mod staticcheck -tags lab ./...
	$(GO) mod tidy -diff
	CGO_ENABLED=1 $(GO) test -race -shuffle=on -short ./...

fuzz:
	bench/fuzz.sh $(FUZZTIME)

long:
	$(GO) test -count=1 $$(grep -rlE 'testing\.Short\(\)' --include='*_test.go' . | xargs -n 1 dirname | sort -u)

# Each package's lab tests have the machine to themselves: they measure.
lab: setup build
	bench/setup.sh qemu-7.2
	bench/setup.sh real
	$(GO) test -tags lab -count=1 -p 1 -timeout 45m \
		$$(grep -rlE '^//go:build lab$$' --include='*_test.go' . | xargs -n 1 dirname | sort -u)

test: check fuzz long lab

demo: setup build
	$(GO) run ./bench/demo

# BENCH takes flags; "-real" makes another table, evacuate-real.md.
bench-evacuate: setup build
	$(if $(findstring -real,$(BENCH)),bench/setup.sh real)
	$(GO) run ./bench/evacuate $(BENCH)

# BENCH takes flags; "-only REGEXP" measures some ways.
bench-modes: setup build
	$(GO) run ./bench/modes $(BENCH)

bench-traffic: setup build
	$(GO) run ./bench/traffic $(BENCH)

bench-disks: setup build
	$(GO) run ./bench/disks $(BENCH)

bench-placement:
	$(GO) run ./bench/placement

bench-prediction: setup build
	$(GO) run ./bench/prediction

# BENCH takes flags; "-full" is the whole matrix, which takes hours.
bench-multicast: setup
	bench/setup.sh peers
	$(GO) run ./bench/multicast $(BENCH)

clean:
	rm -rf bin
	$(GO) run ./bench/cmd/lab -sweep

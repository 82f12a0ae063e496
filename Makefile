# SPDX-License-Identifier: Apache-2.0
# `make help` lists the targets. V=1 shows the commands.

.DELETE_ON_ERROR:
.DEFAULT_GOAL := all
MAKEFLAGS += --no-builtin-rules

VERSION := 0.1.0
ARCH ?= $(shell uname -m | sed 's/x86_64/x86/; s/aarch64/arm64/')
B ?= build
CC := gcc
CLANG ?= clang
LLVM_STRIP ?= llvm-strip
# Ubuntu's wrapper finds no tool for a foreign kernel: the first that answers
BPFTOOL ?= $(or $(shell for b in bpftool /usr/sbin/bpftool /usr/lib/linux-tools/*/bpftool; do \
	$$b version >/dev/null 2>&1 && echo $$b && break; done),bpftool)
PROTOC_C ?= protoc-c
PKG_CONFIG ?= pkg-config

PREFIX ?= /usr/local
DESTDIR ?=
SYSCONFDIR ?= /etc
UNITDIR ?= /lib/systemd/system
MANDIR ?= $(PREFIX)/share/man/man8

ifeq ($(V),1)
Q :=
say = @:
else
Q := @
say = @printf '  %-8s %s\n'
endif

PKGS := libbpf libcurl libmicrohttpd libprotobuf-c yaml-0.1 libxxhash zlib libelf
CPPFLAGS_ALL := -I. -I$(B)/gen -D_GNU_SOURCE -DSONDE_VERSION='"$(VERSION)"' $(CPPFLAGS)
CFLAGS_WARN := -Wall -Wextra -Wno-unused-parameter -Wmissing-prototypes -Wshadow -Wvla -Werror=implicit-function-declaration $(WERROR)
CFLAGS ?= -O2 -g -fstack-protector-strong -D_FORTIFY_SOURCE=2
CFLAGS_ALL := -std=gnu11 $(CFLAGS_WARN) -fno-strict-aliasing -pthread
LDLIBS = $(shell $(PKG_CONFIG) --libs $(PKGS)) -lm -pthread
LDFLAGS_HARD := -Wl,-z,relro,-z,now -pie
SAN := -O1 -g -fsanitize=address,undefined -fno-sanitize-recover=undefined -fno-omit-frame-pointer

BPF_CFLAGS := -g -O2 -target bpf -mcpu=v3 -D__TARGET_ARCH_$(ARCH) -I. -Wall -Wextra -Wno-unused-parameter -Wno-missing-declarations

BPF_SRC := $(wildcard bpf/*.bpf.c bpf/hook/*.bpf.c bpf/runtime/*.bpf.c bpf/proto/*.bpf.c)
BPF_OBJ := $(BPF_SRC:%.bpf.c=$(B)/%.bpf.o)
PROTO_SRC := $(wildcard exporters/wire/*.proto)
PROTO_GEN := $(PROTO_SRC:%.proto=$(B)/gen/%.pb-c.c)
SKEL := $(B)/gen/sonde.skel.h
MAIN_SRC := user/main.c
LIB_SRC := $(filter-out $(MAIN_SRC),$(wildcard user/*.c user/*/*.c exporters/*.c exporters/*/*.c))
GEN_HDR := $(PROTO_GEN:.c=.h)

obj = $(patsubst %.c,$(B)/$(1)/%.o,$(2)) $(patsubst $(B)/gen/%.c,$(B)/$(1)/gen/%.o,$(PROTO_GEN))
REL_OBJ := $(call obj,rel,$(LIB_SRC))
SAN_OBJ := $(call obj,san,$(LIB_SRC))

UNIT_SRC := $(wildcard tests/unit/test_*.c)
UNIT_BIN := $(UNIT_SRC:tests/unit/%.c=$(B)/tests/%)
SHIM_SRC := $(wildcard tests/shim/test_*.c)
SHIM_BIN := $(SHIM_SRC:tests/shim/%.c=$(B)/tests/shim_%)

# made on the way, and wanted again by the next build
.SECONDARY: $(PROTO_GEN) $(GEN_HDR)

## build
all: $(B)/sonde ## build build/sonde

$(B)/sonde: $(B)/rel/user/main.o $(B)/rel/libsonde.a
	$(say) LINK $@
	$(Q)$(CC) $(CFLAGS) $(LDFLAGS_HARD) $(LDFLAGS) -o $@ $^ $(LDLIBS)

$(B)/sonde-asan: $(B)/san/user/main.o $(B)/san/libsonde.a
	$(say) LINK $@
	$(Q)$(CC) $(SAN) -o $@ $^ $(LDLIBS)

asan: $(B)/sonde-asan ## build build/sonde-asan, with address and undefined-behaviour checks

$(B)/rel/libsonde.a: $(REL_OBJ)
$(B)/san/libsonde.a: $(SAN_OBJ)
%/libsonde.a:
	$(say) AR $@
	$(Q)rm -f $@ && ar rcs $@ $^

$(B)/rel/%.o: %.c | $(GEN_HDR)
	$(say) CC $<
	$(Q)mkdir -p $(@D) && $(CC) $(CPPFLAGS_ALL) $(CFLAGS_ALL) $(CFLAGS) -fPIE -MMD -MP -c -o $@ $<
$(B)/san/%.o: %.c | $(GEN_HDR)
	$(say) CC-SAN $<
	$(Q)mkdir -p $(@D) && $(CC) $(CPPFLAGS_ALL) $(CFLAGS_ALL) $(SAN) -MMD -MP -c -o $@ $<
$(B)/rel/gen/%.o: $(B)/gen/%.c
	$(Q)mkdir -p $(@D) && $(CC) $(CPPFLAGS_ALL) $(CFLAGS_ALL) $(CFLAGS) -fPIE -w -c -o $@ $<
$(B)/san/gen/%.o: $(B)/gen/%.c
	$(Q)mkdir -p $(@D) && $(CC) $(CPPFLAGS_ALL) $(CFLAGS_ALL) $(SAN) -w -c -o $@ $<

$(B)/rel/user/load.o $(B)/san/user/load.o: $(SKEL)

$(B)/gen/%.pb-c.c $(B)/gen/%.pb-c.h: %.proto
	$(say) PROTOC $<
	$(Q)mkdir -p $(B)/gen && $(PROTOC_C) --proto_path=. --c_out=$(B)/gen $<

$(B)/%.bpf.o: %.bpf.c
	$(say) BPF $<
	$(Q)mkdir -p $(@D) && $(CLANG) $(BPF_CFLAGS) -MMD -MP -c -o $@ $< && $(LLVM_STRIP) -g $@

$(B)/sonde.bpf.o: $(BPF_OBJ)
	$(say) BPF-LINK $@
	$(Q)$(BPFTOOL) gen object $@ $^

$(SKEL): $(B)/sonde.bpf.o
	$(say) SKEL $@
	$(Q)mkdir -p $(@D) && $(BPFTOOL) gen skeleton $< name sonde_bpf > $@

## test
$(B)/tests/test_%: tests/unit/test_%.c $(B)/san/libsonde.a
	$(say) TEST $<
	$(Q)mkdir -p $(@D) && $(CC) $(CPPFLAGS_ALL) -std=gnu11 -Wall -Wextra -Wno-unused-parameter -fno-strict-aliasing $(SAN) -MMD -MP -o $@ $< $(B)/san/libsonde.a -lcmocka $(LDLIBS)

# The kernel's half as an ordinary library: classify.bpf.c (inside shim/kernel.c) and every protocol
SHIM_KERNEL := $(B)/shim/kernel.o $(patsubst bpf/proto/%.bpf.c,$(B)/shim/proto/%.o,$(wildcard bpf/proto/*.bpf.c))
SHIM_HELP := $(patsubst tests/shim/%.c,$(B)/shim/%.o,$(filter-out tests/shim/kernel.c tests/shim/test_%,$(wildcard tests/shim/*.c)))
SHIM_CFLAGS := -DSONDE_SHIM -Itests/shim -I. -D_GNU_SOURCE -std=gnu11 -Wall -fno-strict-aliasing $(SAN)
$(B)/shim/kernel.o: tests/shim/kernel.c
	$(say) CC-SHIM $<
	$(Q)mkdir -p $(@D) && $(CC) $(SHIM_CFLAGS) -MMD -MP -c -o $@ $<
$(B)/shim/proto/%.o: bpf/proto/%.bpf.c
	$(say) CC-SHIM $<
	$(Q)mkdir -p $(@D) && $(CC) $(SHIM_CFLAGS) -MMD -MP -c -o $@ $<
$(B)/shim/%.o: tests/shim/%.c
	$(say) CC-SHIM $<
	$(Q)mkdir -p $(@D) && $(CC) $(CPPFLAGS_ALL) $(CFLAGS_ALL) $(SAN) -MMD -MP -c -o $@ $<
$(B)/tests/shim_test_%: tests/shim/test_%.c $(SHIM_KERNEL) $(SHIM_HELP) $(B)/san/libsonde.a
	$(say) TEST $<
	$(Q)mkdir -p $(@D) && $(CC) $(CPPFLAGS_ALL) $(CFLAGS_ALL) $(SAN) -MMD -MP -o $@ $< \
		$(SHIM_KERNEL) $(SHIM_HELP) $(B)/san/libsonde.a -lcmocka $(LDLIBS)

$(B)/tests/load: tests/load/load.c $(SKEL)
	$(say) TEST $<
	$(Q)mkdir -p $(@D) && $(CC) $(CPPFLAGS_ALL) $(CFLAGS_ALL) $(CFLAGS) -MMD -MP -o $@ $< $(LDLIBS)

# random bytes into what takes bytes from strangers
FUZZ_BIN := $(patsubst tests/fuzz/%.c,$(B)/tests/%,$(wildcard tests/fuzz/fuzz_*.c))
$(B)/tests/fuzz_%: tests/fuzz/fuzz_%.c $(B)/san/libsonde.a
	$(say) TEST $<
	$(Q)mkdir -p $(@D) && $(CC) $(CPPFLAGS_ALL) $(CFLAGS_ALL) $(SAN) -MMD -MP -o $@ $< $(B)/san/libsonde.a $(LDLIBS)

BENCH_BIN := $(patsubst tests/bench/%.c,$(B)/bench/%,$(wildcard tests/bench/*.c))
$(B)/bench/%: tests/bench/%.c $(B)/rel/libsonde.a
	$(say) BENCH $<
	$(Q)mkdir -p $(@D) && $(CC) $(CPPFLAGS_ALL) $(CFLAGS_ALL) $(CFLAGS) -MMD -MP -o $@ $< $(B)/rel/libsonde.a $(LDLIBS)

# NAME=COMMAND of each suite, for tests/run.py; '+': a long one, shown while it runs
LOCAL := $(foreach t,$(wildcard tests/unit/test_*.py),"unit/$(notdir $t)=python3 $t") \
	$(foreach t,$(UNIT_SRC:tests/unit/%.c=%),"unit/$t=$(B)/tests/$t") \
	$(foreach t,$(SHIM_SRC:tests/shim/%.c=%),"shim/$t=$(B)/tests/shim_$t")
LOCAL += $(foreach t,$(notdir $(FUZZ_BIN)),"?fuzz/$t=$(B)/tests/$t 5")
LOCAL_BIN := $(UNIT_BIN) $(SHIM_BIN) $(FUZZ_BIN)
CHECKS := "check-deps=python3 tests/check_deps.py" "check-links=python3 tests/check_links.py" "check-docs=sh deploy/docs.sh --check $(B)/sonde" \
	"check-deploy=sh deploy/check.sh $(B)"
# needs the network once: what its protocol's own package says
FOREIGN := $(if $(wildcard tests/e2e/otlp_descriptors.py),"?otlp-descriptors=python3 tests/e2e/otlp_descriptors.py --build $(B)")
E2E := $(firstword $(wildcard tests/e2e/run.py))
E2E_DEPS := $(wildcard tests/e2e/deps.sh)
JOBS = $(shell nproc)
# for tests that are scripts
export SONDE_BUILD := $(B)

deps: ## install what building and testing needs (Debian, Ubuntu), else list it
	$(Q)sh deploy/deps.sh

## run
run: deps ## build and observe this machine: calls on the screen, metrics at /metrics. SCOPE=cgroup:/x narrows it, ARGS= are more options
	$(Q)$(MAKE) --no-print-directory -j$(JOBS) all
	$(Q)echo "sonde prints each call as it ends, and says below where /metrics is. Ctrl-C ends it."
	$(Q)$(B)/sonde --print=text $(SCOPE:%=--scope=%) $(ARGS)

demo: deps ## a small server, its neighbour and their visitor for 60 seconds, observed by sonde (and nothing else is)
	$(Q)$(MAKE) --no-print-directory -j$(JOBS) all
	$(Q)bash deploy/demo/demo.sh $(B)/sonde $(ARGS)

## test
test: deps ## all tests (root): check, every BPF program on this kernel, real programs. T=unit/test_x, T=e2e/x: only that one
ifneq ($(T),)
	$(Q)$(MAKE) --no-print-directory one
else
	$(Q)test "$$(id -u)" = 0 || { echo 'make test needs root: `sudo make test`; without root there is `make check`' >&2; exit 1; }
	$(Q)$(if $(E2E_DEPS),sh $(E2E_DEPS) ||:)
	$(Q)$(MAKE) --no-print-directory -j$(JOBS) all $(LOCAL_BIN) $(B)/tests/load
	$(Q)tests/run.py $(LOCAL) $(CHECKS) $(FOREIGN) "load=$(B)/tests/load" \
		"?demo=env DEMO_SECONDS=4 bash deploy/demo/demo.sh $(B)/sonde" $(if $(E2E),"+e2e=$(E2E) --sonde $(B)/sonde $(ARGS)")
endif

check: ## the tests that need no root: unit tests, BPF parsers, include directions, documents, deployment files
	$(Q)$(MAKE) --no-print-directory -j$(JOBS) all $(LOCAL_BIN)
	$(Q)tests/run.py $(LOCAL) $(CHECKS)

# One test by its name in the list that `make test` prints; what follows e2e/ goes to its runner.
one:
ifneq ($(filter e2e/%,$(T)),)
	$(Q)$(if $(E2E_DEPS),sh $(E2E_DEPS) ||:)
	$(Q)$(MAKE) --no-print-directory -j$(JOBS) all
	$(Q)tests/run.py "+$(T)=$(E2E) --sonde $(B)/sonde --filter=$(T:e2e/%=%) $(ARGS)"
else ifeq ($(T),load)
	$(Q)$(MAKE) --no-print-directory -j$(JOBS) $(B)/tests/load
	$(Q)tests/run.py "load=$(B)/tests/load"
else ifneq ($(filter %.py,$(T)),)
	$(Q)tests/run.py "$(T)=python3 tests/$(T)"
else ifneq ($(filter unit/% shim/%,$(T)),)
	$(Q)$(MAKE) --no-print-directory -j$(JOBS) $(patsubst shim/%,$(B)/tests/shim_%,$(T:unit/%=$(B)/tests/%))
	$(Q)tests/run.py "$(T)=$(patsubst shim/%,$(B)/tests/shim_%,$(T:unit/%=$(B)/tests/%))"
else
	$(Q)echo 'T=$(T) is none of unit/NAME, shim/NAME, load, e2e/NAME' >&2; exit 1
endif

check-deps: ## which way includes point, and who names a protocol
	$(Q)python3 tests/check_deps.py

check-docs: $(B)/sonde ## documents made from the table of options are up to date
	$(Q)sh deploy/docs.sh --check $(B)/sonde

check-deploy: ## the unit, the image and the manifest, each by its own validator
	$(Q)sh deploy/check.sh $(B)

fuzz: $(FUZZ_BIN) ## random bytes into every decoder, for SECONDS=60
	$(Q)for f in $(FUZZ_BIN); do $$f $(or $(SECONDS),60) || exit 1; done

bench: deps ## what sonde costs: nginx and wrk with and without it (root). ARGS= for tests/bench/run.py
	$(Q)$(if $(E2E_DEPS),sh $(E2E_DEPS) ||:)
	$(Q)$(MAKE) --no-print-directory -j$(JOBS) all $(BENCH_BIN)
	$(Q)$(foreach b,$(BENCH_BIN),$b &&) python3 tests/bench/run.py --sonde $(B)/sonde $(ARGS)

## house
docs: $(B)/sonde ## make docs/configuration.md, deploy/sonde.yaml and deploy/sonde.8 anew
	$(Q)sh deploy/docs.sh $(B)/sonde

format: ## clang-format over all C files but the generated ones
	$(Q)find bpf user exporters tests -name '*.[ch]' -print0 | xargs -0 clang-format -i

install: $(B)/sonde ## install under PREFIX (/usr/local), below DESTDIR; a configuration that is there stays
	$(Q)install -D -m 755 $(B)/sonde $(DESTDIR)$(PREFIX)/bin/sonde
	$(Q)install -d $(DESTDIR)$(MANDIR) $(DESTDIR)$(UNITDIR)
	$(Q)install -m 644 deploy/sonde.8 $(DESTDIR)$(MANDIR)/sonde.8
	$(Q)sed 's|@BINDIR@|$(PREFIX)/bin|' deploy/sonde.service.in >$(DESTDIR)$(UNITDIR)/sonde.service
	$(Q)chmod 644 $(DESTDIR)$(UNITDIR)/sonde.service
	$(Q)test -e $(DESTDIR)$(SYSCONFDIR)/sonde/sonde.yaml || \
		install -D -m 644 deploy/sonde.yaml $(DESTDIR)$(SYSCONFDIR)/sonde/sonde.yaml
	$(Q)test -n "$(DESTDIR)" || echo 'installed; `systemctl daemon-reload && systemctl enable --now sonde` starts it'

uninstall: ## remove what install brought; the configuration stays
	$(Q)rm -f $(DESTDIR)$(PREFIX)/bin/sonde $(DESTDIR)$(MANDIR)/sonde.8 $(DESTDIR)$(UNITDIR)/sonde.service

clean: ## remove what was built; downloads in build/cache stay
	$(Q)find $(B) -mindepth 1 -maxdepth 1 ! -name cache -exec rm -rf {} + 2>/dev/null ||:

help: ## this list
	$(Q)awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  %-13s %s\n", $$1, $$2 }' $(firstword $(MAKEFILE_LIST))

.PHONY: all asan deps run demo test check one check-deps check-docs check-deploy fuzz bench docs format install uninstall clean help

-include $(shell find $(B) -name '*.d' 2>/dev/null)

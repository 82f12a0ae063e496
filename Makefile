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
BPFTOOL ?= $(shell command -v bpftool || echo /usr/sbin/bpftool)
PROTOC_C ?= protoc-c
PKG_CONFIG ?= pkg-config

PREFIX ?= /usr/local
DESTDIR ?=
SYSCONFDIR ?= /etc
UNITDIR ?= /lib/systemd/system

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

$(B)/tests/shim_test_%: tests/shim/test_%.c $(wildcard bpf/proto/*.c bpf/shared/*.h bpf/lib/*.h tests/shim/*.h)
	$(say) TEST $<
	$(Q)mkdir -p $(@D) && $(CC) -DSONDE_SHIM -Itests/shim -I. -D_GNU_SOURCE -std=gnu11 -Wall -fno-strict-aliasing $(SAN) -MMD -MP -o $@ $< -lcmocka

-include $(shell find $(B) -name '*.d' 2>/dev/null)

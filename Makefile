# ringtape: `make` builds build/ringtape, `make help` lists the rest.
#
#   CC=clang                       another compiler
#   WERROR=1                       warnings are errors
#   SANITIZE=address,undefined     a build of its own in build/san-address-undefined; SANITIZE=thread in build/san-thread
#   V=1                            show the commands
#   OUT=DIR                        another folder for objects and binaries
#   WOLFSSL_PREFIX=DIR             another wolfSSL (with the options of scripts/build-wolfssl.sh)
#   LLHTTP_DIR=DIR                 another llhttp (include/llhttp.h and libllhttp.a or .so)

.DEFAULT_GOAL := all
.DELETE_ON_ERROR:
MAKEFLAGS += --no-builtin-rules

ifeq ($(origin CC),default)
CC := gcc
endif

ifdef V
quiet =
else
quiet = @printf '  %-4s %s\n' '$(1)' '$(2)';
endif

comma := ,
ifdef SANITIZE
OUT ?= build/san-$(subst $(comma),-,$(SANITIZE))
else
OUT ?= build
endif

VERSION := $(shell cat VERSION)
PREFIX ?= /usr/local
WOLFSSL_PREFIX ?= build/deps/wolfssl
LLHTTP_DIR ?= build/deps/llhttp

# --- flags ---------------------------------------------------------------------------------------------------------

WARNINGS := -Wall -Wextra -Wpedantic -Wshadow -Wconversion -Wsign-conversion -Wstrict-prototypes -Wmissing-prototypes \
	-Wcast-qual -Wwrite-strings -Wvla -Wundef -Wformat=2
ifdef WERROR
WARNINGS += -Werror
endif

CFLAGS ?= -O2 -g
DEFINES := -D_GNU_SOURCE -DRINGTAPE_VERSION='"$(VERSION)"'
# Its headers do not say before 2.4.
LIBURING_VERSION := $(shell pkg-config --modversion liburing 2>/dev/null)
ifneq ($(LIBURING_VERSION),)
DEFINES += -DRINGTAPE_LIBURING_VERSION='"$(LIBURING_VERSION)"'
endif
# The libraries' headers are system headers here: their warnings are not ours.
INCLUDES := -Isrc -I. -Ibuild -isystem $(WOLFSSL_PREFIX)/include -isystem $(LLHTTP_DIR)/include
HARDENING := -fstack-protector-strong -fPIE
LINK_HARDENING := -pie -Wl,-z,relro,-z,now
ifdef SANITIZE
SANITIZERS := -fsanitize=$(SANITIZE) -fno-sanitize-recover=all -fno-omit-frame-pointer
else
# The sanitizers see more than fortified functions do, and the two do not go together.
HARDENING += -U_FORTIFY_SOURCE -D_FORTIFY_SOURCE=2
endif

ALL_CFLAGS = -std=c17 $(CFLAGS) $(WARNINGS) $(DEFINES) $(INCLUDES) $(HARDENING) $(SANITIZERS) -pthread
LLHTTP_LINK = $(or $(wildcard $(LLHTTP_DIR)/libllhttp.a),-L$(LLHTTP_DIR) -lllhttp)
LIBS = $(WOLFSSL_PREFIX)/lib/libwolfssl.a $(LLHTTP_LINK) -luring -lsqlite3 -ljansson -lz -lbrotlidec -lbrotlicommon \
	-lzstd -lnghttp2 -lwslay -lpthread -lm
LINK = $(CC) $(LINK_HARDENING) $(SANITIZERS) $(LDFLAGS) -pthread

# --- sources -------------------------------------------------------------------------------------------------------

# Each layer becomes one archive. `uses_X` is what a test of layer X is linked with, lower layers last: a layer that
# reaches for one it may not know does not link (scripts/check-layers holds the includes to the same table).
LAYERS := proxy record replay har diff tape flow http tls ring base
uses_base := base
uses_ring := ring base
uses_tls := tls base
uses_http := http base
uses_flow := flow http base
uses_tape := tape http base
uses_har := har tape http base
uses_diff := diff tape http base
uses_record := record tape flow http ring base
uses_replay := replay tape flow http base
uses_proxy := proxy flow http tls ring base
uses_tools := tools lib $(LAYERS)
uses_fuzz := $(LAYERS)
uses_lib := lib $(LAYERS)

sources_lib := $(wildcard src/*.c)
sources_tools := $(filter-out tools/ringtape.c,$(wildcard tools/*.c))
$(foreach layer,$(LAYERS),$(eval sources_$(layer) := $(wildcard src/$(layer)/*.c)))

# Files compiled into the program: FILE:NAME:SYMBOL becomes build/gen/NAME.h with `extern const char SYMBOL[]`, part of
# the layer in embed_X.
embed_tape := schema/tape.sql:tape_sql:tape_schema_sql schema/tape-1.sql:tape_1_sql:tape_schema_1_sql
embed_proxy :=
EMBEDDED := $(embed_tape) $(embed_proxy)
part = $(word $(2),$(subst :, ,$(1)))
GEN_HEADERS := $(foreach e,$(EMBEDDED),$(if $(wildcard $(call part,$(e),1)),build/gen/$(call part,$(e),2).h))
sources_tape += $(foreach e,$(embed_tape),$(if $(wildcard $(call part,$(e),1)),build/gen/$(call part,$(e),2).c))

object = $(patsubst %.c,$(OUT)/obj/%.o,$(1))
archive = $(OUT)/lib/$(1).a
GROUPS_ALL := $(LAYERS) lib tools
archives = $(foreach g,$(1),$(if $(strip $(sources_$(g))),$(call archive,$(g))))
LIB_OBJECTS := $(foreach g,$(GROUPS_ALL),$(call object,$(sources_$(g))))
MAIN_OBJECT := $(call object,$(wildcard tools/ringtape.c))

support_sources := $(wildcard tests/support/*.c)
test_sources := $(wildcard tests/*/test_*.c)
TESTS := $(patsubst %.c,$(OUT)/%,$(test_sources))
fuzz_sources := $(wildcard tests/fuzz/fuzz_*.c)
FUZZERS := $(patsubst %.c,$(OUT)/%,$(fuzz_sources))

# --- the program ---------------------------------------------------------------------------------------------------

.PHONY: all
all: $(if $(MAIN_OBJECT),$(OUT)/ringtape)

$(OUT)/ringtape: $(MAIN_OBJECT) $(LIB_OBJECTS)
	$(call quiet,LINK,$@)$(LINK) -o $@ $^ $(LIBS)

# Objects are made anew when the compiler or a flag is another than last time.
flags_now := $(strip $(subst ",,$(subst ',,$(CC) $(filter-out -Werror,$(ALL_CFLAGS)) $(FUZZ_CFLAGS) $(LDFLAGS))))
ifneq ($(flags_now),$(strip $(shell cat $(OUT)/.flags 2>/dev/null)))
.PHONY: $(OUT)/.flags
endif
$(OUT)/.flags:
	@mkdir -p $(@D)
	@echo '$(flags_now)' >$@

# A missing library is one sentence, asked for once in each folder.
$(OUT)/.deps-ok: scripts/check-deps.sh $(OUT)/.flags
	@CC='$(CC)' WOLFSSL_PREFIX='$(WOLFSSL_PREFIX)' LLHTTP_DIR='$(LLHTTP_DIR)' scripts/check-deps.sh
	@touch $@

$(OUT)/obj/%.o: %.c $(OUT)/.flags | $(OUT)/.deps-ok $(GEN_HEADERS)
	@mkdir -p $(@D)
	$(call quiet,CC,$<)$(CC) $(ALL_CFLAGS) $(FUZZ_CFLAGS) -MMD -MP -c -o $@ $<

define embed_rule
build/gen/$(call part,$(1),2).c: $(call part,$(1),1) scripts/embed.sh
	@mkdir -p $$(@D)
	$$(call quiet,GEN,$$@)scripts/embed.sh $(call part,$(1),1) $(call part,$(1),3) $$@ build/gen/$(call part,$(1),2).h
build/gen/$(call part,$(1),2).h: build/gen/$(call part,$(1),2).c ;
endef
$(foreach e,$(EMBEDDED),$(eval $(call embed_rule,$(e))))

# Archives serve the tests; they are rebuilt from nothing, so that a deleted source leaves no member behind.
define archive_rule
$(call archive,$(1)): $(call object,$(sources_$(1)))
	@mkdir -p $$(@D)
	@rm -f $$@
	$$(call quiet,AR,$$@)$$(AR) rcs $$@ $$^
endef
$(foreach g,$(GROUPS_ALL),$(if $(strip $(sources_$(g))),$(eval $(call archive_rule,$(g)))))

# --- tests ---------------------------------------------------------------------------------------------------------

# tests/LAYER/test_X.c becomes $(OUT)/tests/LAYER/test_X. A folder that names no layer is linked with everything.
define test_rule
$(patsubst %.c,$(OUT)/%,$(1)): $(call object,$(1)) $(call object,$(support_sources)) \
		$(call archives,$(or $(uses_$(2)),lib $(LAYERS)))
	@mkdir -p $$(@D)
	$$(call quiet,LINK,$$@)$$(LINK) -o $$@ $$(filter %.o,$$^) -Wl,--start-group $$(filter %.a,$$^) -Wl,--end-group $$(LIBS) -lcmocka
endef
$(foreach t,$(test_sources),$(eval $(call test_rule,$(t),$(notdir $(patsubst %/,%,$(dir $(t)))))))

.PHONY: tests objects
tests: $(TESTS)

# Compiles everything and links nothing: for a compiler's opinion.
objects: $(LIB_OBJECTS) $(MAIN_OBJECT) $(call object,$(test_sources) $(support_sources))

# `make tests-http` builds (only) the tests of one layer.
tests-%: ;
define layer_tests_rule
.PHONY: tests-$(1)
tests-$(1): $(filter $(OUT)/tests/$(1)/%,$(TESTS))
endef
$(foreach d,$(sort $(notdir $(patsubst %/,%,$(dir $(test_sources))))),$(eval $(call layer_tests_rule,$(d))))

# Fuzz targets need clang's runtime in every object, so they have a folder of their own.
define fuzz_rule
$(patsubst %.c,$(OUT)/%,$(1)): $(call object,$(1)) $(call archives,$(LAYERS))
	@mkdir -p $$(@D)
	$$(call quiet,LINK,$$@)$$(LINK) -fsanitize=fuzzer -o $$@ $$(filter %.o,$$^) -Wl,--start-group $$(filter %.a,$$^) -Wl,--end-group $$(LIBS)
endef
$(foreach f,$(fuzz_sources),$(eval $(call fuzz_rule,$(f))))

.PHONY: fuzz fuzzers
fuzz:
	$(MAKE) CC=clang SANITIZE=address,undefined OUT=build/fuzz FUZZ_CFLAGS=-fsanitize=fuzzer-no-link fuzzers
fuzzers: $(FUZZERS)

# clang-tidy over src/ and tools/; a file is looked at again when it or one of its headers has changed.
LINTED := $(patsubst %.c,build/tidy/%.ok,$(filter-out build/%,$(foreach g,$(GROUPS_ALL),$(sources_$(g)))) \
	$(wildcard tools/ringtape.c))
TIDY_CFLAGS = -std=c17 $(WARNINGS) $(DEFINES) $(INCLUDES)
build/tidy/%.ok: %.c $(OUT)/obj/%.o .clang-tidy
	@mkdir -p $(@D)
	$(call quiet,TIDY,$<)clang-tidy --quiet $< -- $(filter-out -Werror,$(TIDY_CFLAGS)) 2>$@.log >$@.out || \
		{ cat $@.out; grep -v ' warnings* generated' $@.log; exit 1; }
	@touch $@

.PHONY: lint format
lint: $(LINTED)

# Lays out the sources, all or FILES="…".
format:
	clang-format -i $(or $(FILES),$(shell git ls-files '*.c' '*.h'))

# The quick part, for daily work: installs nothing, takes less than two minutes.
.PHONY: test
test: all tests
	tests/run quick

# Everything, as continuous integration runs it.
.PHONY: check
check:
	scripts/deps.sh build demo test
	$(MAKE) -j$$(nproc) all
	tests/run all

# --- everything else -----------------------------------------------------------------------------------------------

.PHONY: deps
deps:
	scripts/deps.sh build

.PHONY: demo
demo:
	scripts/deps.sh build demo
	$(MAKE) -j$$(nproc) all
	scripts/demo.sh $(URL)

.PHONY: test-autobahn
test-autobahn: all
	tests/autobahn/run $(CASES)

.PHONY: bench
bench:
	scripts/deps.sh build bench
	$(MAKE) -j$$(nproc) all
	bench/run $(BENCH)
	bench/events

# Manual pages and completion are what the program says of itself: one option table, no second text.
COMMANDS := $(shell sed -n 's/^ *X.[A-Z]*, \([a-z]*\), ".*/\1/p' tools/option_table.h)
MANUAL := $(addprefix $(OUT)/man/,ringtape.1 $(COMMANDS:%=ringtape-%.1)) $(OUT)/completion/ringtape
generate = @mkdir -p $(@D) && $(OUT)/ringtape --generate $(1) >$@.$$$$ && mv $@.$$$$ $@

.PHONY: manual
manual: $(MANUAL)
$(OUT)/man/ringtape.1: $(OUT)/ringtape
	$(call generate,man)
$(OUT)/man/ringtape-%.1: $(OUT)/ringtape
	$(call generate,man-$*)
$(OUT)/completion/ringtape: $(OUT)/ringtape
	$(call generate,completion-bash)

# docs/commands is committed, so that it can be read without a build; a test holds it to the program.
.PHONY: docs
docs: $(OUT)/ringtape
	@mkdir -p docs/commands
	@for c in $(COMMANDS); do $(OUT)/ringtape --generate markdown-$$c >docs/commands/$$c.md || exit 1; done

TO = $(DESTDIR)$(PREFIX)
.PHONY: install
install: all manual
	install -d "$(TO)/bin" "$(TO)/share/man/man1" "$(TO)/share/bash-completion/completions"
	install -m 755 $(OUT)/ringtape "$(TO)/bin/ringtape"
	install -m 644 $(filter %.1,$(MANUAL)) "$(TO)/share/man/man1/"
	install -m 644 $(OUT)/completion/ringtape "$(TO)/share/bash-completion/completions/ringtape"
	$(if $(wildcard include/ringtape.h),install -D -m 644 include/ringtape.h "$(TO)/include/ringtape.h")

# build/deps stays: it takes a network to make again.
.PHONY: clean distclean
clean:
	@if [ -d build ]; then find build -mindepth 1 -maxdepth 1 ! -name deps -exec rm -rf {} +; fi
distclean:
	rm -rf build

.PHONY: help
help:
	@echo 'make            build/ringtape'
	@echo 'make demo       install what is missing, record a session, export it, replay it offline'
	@echo 'make check      install what is missing, run every test'
	@echo 'make test       the quick tests'
	@echo 'make deps       install what the build needs'
	@echo 'make test-autobahn  the Autobahn test suite through the proxy, where one is found; CASES="1.* 2.*" chooses'
	@echo 'make bench      install what is missing, measure beside HAProxy; BENCH="tls fresh" chooses loads'
	@echo 'make lint       clang-tidy; make format [FILES=…]: clang-format'
	@echo 'make fuzz       build the fuzz targets (clang)'
	@echo 'make docs       write docs/commands anew from the option table'
	@echo 'make install    PREFIX=/usr/local, DESTDIR='
	@echo 'make clean      keeps build/deps; distclean does not'

-include $(wildcard $(OUT)/obj/*/*.d $(OUT)/obj/*/*/*.d)

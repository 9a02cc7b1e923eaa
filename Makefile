# Folio's one front door. `make help` lists what it opens.

BUILD ?= build
CC ?= gcc
SAN ?=
MARCH ?= native
JOBS := $(shell nproc)
MAKEFLAGS += --no-builtin-rules

ifeq ($(origin CC),default)
CC := gcc
endif

# A sanitizer build lives in a folder of its own. ThreadSanitizer needs an
# OpenMP runtime that tells it about barriers: clang's, with its archer tool.
ifneq ($(SAN),)
comma := ,
BUILD := build/san-$(subst $(comma),-,$(SAN))
SANFLAGS := -fsanitize=$(SAN) -fno-omit-frame-pointer
ifeq ($(SAN),thread)
CC := clang
endif
endif

WARN := -Wall -Wextra -Werror
CPPFLAGS := -Isrc -Itests -D_GNU_SOURCE
CFLAGS := -std=c17 -O3 -g -march=$(MARCH) -ffp-contract=fast -fopenmp $(WARN) $(SANFLAGS)
LDLIBS := -lopenblas -ljansson -lm
LDFLAGS := -fopenmp $(SANFLAGS)
DEPFLAGS = -MMD -MP

library_sources := $(sort $(wildcard src/common/*.c src/cpu/*.c src/model/*.c src/engine/*.c))
app_sources := $(sort $(wildcard src/app/*.c))
support_sources := $(sort $(filter-out $(wildcard tests/test_*.c tests/fuzz_*.c),$(wildcard tests/*.c)))
test_sources := $(sort $(wildcard tests/test_*.c))

library := $(BUILD)/libfolio.a
support := $(BUILD)/libsupport.a
tests := $(test_sources:tests/%.c=$(BUILD)/tests/%)
object = $(1:%.c=$(BUILD)/%.o)
objects := $(call object,$(library_sources) $(app_sources) $(support_sources) $(test_sources))

.PHONY: all help
all: $(if $(app_sources),$(BUILD)/folio) ## Build the command `folio`

help: ## List the targets
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/  make \1\t\2/p' $(MAKEFILE_LIST) | expand -t 26

$(BUILD)/%.o: %.c
	@mkdir -p $(@D)
	$(CC) $(CPPFLAGS) $(CFLAGS) $(DEPFLAGS) -c $< -o $@

$(library): $(call object,$(library_sources))
$(support): $(call object,$(support_sources))
$(library) $(support):
	@mkdir -p $(@D)
	@rm -f $@
	ar rcs $@ $^

$(BUILD)/folio: $(call object,$(app_sources)) $(library)
	$(CC) $(LDFLAGS) $^ $(LDLIBS) -o $@

$(BUILD)/tests/%: $(BUILD)/tests/%.o $(support) $(library)
	$(CC) $(LDFLAGS) $^ -lcmocka $(LDLIBS) -o $@

.PHONY: tests
tests: $(tests) ## Build the unit tests without running them

.SECONDARY: $(objects)
-include $(objects:.o=.d)

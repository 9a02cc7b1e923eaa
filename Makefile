# Folio's one front door: `make help` lists what it opens.

BUILD ?= build
SAN ?=
MARCH ?= native
PROMPT ?= A block table
MODEL ?= golden/folio-tiny.gguf
FUZZ_SECONDS ?= 60
MAKEFLAGS += --no-builtin-rules -j$(shell nproc)
comma := ,

ifeq ($(origin CC),default)
CC := gcc
endif
NVCC ?= $(firstword $(shell command -v nvcc) /usr/local/cuda/bin/nvcc)

# A sanitizer build lives in a folder of its own. ThreadSanitizer must see the
# barriers of OpenMP, which clang's runtime shows it and gcc's does not.
ifneq ($(SAN),)
BUILD := build/san-$(subst $(comma),-,$(SAN))
SANFLAGS := -fsanitize=$(SAN) -fno-omit-frame-pointer -fno-sanitize-recover=all
ifeq ($(SAN),thread)
CC := clang
# Under the sanitizer clang may leave a simd loop scalar.
SANFLAGS += -Wno-pass-failed
endif
else ifeq ($(CC),clang)
BUILD := build/clang
endif
# WITHOUT_SIM=1 leaves the simulator out of a sanitizer's build.
ifneq ($(SAN)$(WITHOUT_SIM),$(SAN))
BUILD := $(BUILD)-without-sim
endif
CXX := $(if $(findstring clang,$(CC)),clang++,g++)

# WITH_CUDA=1 adds the device `cuda`, compiled by nvcc, in a folder of its own;
# WITHOUT_CPU=1 leaves the CPU's side and the simulator out, and with them OpenBLAS.
ifneq ($(WITH_CUDA),)
BUILD := build/cuda$(if $(WITHOUT_CPU),-alone)
endif

export OMP_WAIT_POLICY ?= passive
export TSAN_OPTIONS ?= ignore_noninstrumented_modules=1
export FOLIO_BUILD := $(BUILD)

# Debian keeps each build of OpenBLAS in a folder of its own; Folio's threads
# are OpenMP's, so its BLAS must be the one that shares them.
BLAS_DIR := $(firstword $(wildcard /usr/lib/*/openblas-openmp))
BLAS_FLAGS := $(if $(BLAS_DIR),-L$(BLAS_DIR) -Wl$(comma)-rpath$(comma)$(BLAS_DIR))

# The python that has numpy, looked for when first needed.
PYTHON = $(or $(firstword $(foreach p,python3 /usr/bin/python3,\
	$(shell $(p) -c 'import numpy' 2>/dev/null && echo $(p)))),python3)

WARN := -Wall -Wextra -Werror
# Lines are named from here, so that an object that a compiler cache found says the
# same in any clone.
DEBUG := -g -ffile-prefix-map=$(CURDIR)=.
CPPFLAGS := -Isrc -Itests -D_GNU_SOURCE
CFLAGS := -std=c17 -O3 $(DEBUG) -march=$(MARCH) -fopenmp $(WARN) $(SANFLAGS)
LDFLAGS := -fopenmp $(SANFLAGS) $(BLAS_FLAGS)
LDLIBS := $(if $(WITHOUT_CPU),,-lopenblas) -lmicrohttpd -ljansson -lm

# The CUDA sources compiled for the simulated GPU. ThreadSanitizer's callbacks are
# how the simulator sees memory, so its own build must leave the simulator out.
ifneq ($(WITHOUT_CPU),)
CPPFLAGS += -DFO_NO_CPU -DFO_NO_SIM
else ifneq ($(filter thread,$(SAN))$(WITHOUT_SIM),)
CPPFLAGS += -DFO_NO_SIM
else
simulated_sources := $(sort $(wildcard src/cuda/*.cu))
test_kernels := $(sort $(wildcard tests/*.cu))
simulator := sim
WATCH := $(if $(SAN),$(SANFLAGS),-fsanitize=thread)
LDFLAGS += -no-pie
endif
# Left to itself clang gathers neighbouring stores into a memset, which reports no
# access.
SIMULATED := -x c++ -std=c++20 -DFO_SIMULATED -Isrc/sim/include -O2 $(DEBUG) -march=$(MARCH) \
	-fno-pie -fno-strict-aliasing -fno-exceptions -fno-rtti -fno-threadsafe-statics \
	-fno-tree-vectorize -fno-tree-slp-vectorize -fno-builtin-memset -Wno-unknown-pragmas \
	$(WARN) $(WATCH)

# The same sources for a GPU: machine code for sm_80 and sm_90, PTX for newer ones.
ifneq ($(WITH_CUDA),)
CPPFLAGS += -DFO_HAVE_CUDA
cuda_sources := $(sort $(wildcard src/cuda/*.cu))
CUDA_HOME := $(patsubst %/bin/nvcc,%,$(realpath $(NVCC)))
LDLIBS += -L$(CUDA_HOME)/lib64 -Wl$(comma)-rpath$(comma)$(CUDA_HOME)/lib64 \
	-lcublasLt -lcudart_static -ldl -lrt -lpthread -lstdc++
endif
NVCCFLAGS := -std=c++20 -O3 -lineinfo -Xcompiler -Wall$(comma)-Wextra -Werror all-warnings \
	-gencode arch=compute_80$(comma)code=sm_80 \
	-gencode arch=compute_90$(comma)code=sm_90 \
	-gencode arch=compute_90$(comma)code=compute_90 -Xcompiler -fPIC

library_sources := $(sort $(foreach d,common $(if $(WITHOUT_CPU),,cpu) $(simulator) \
	model engine server,$(wildcard src/$d/*.c)))
app_sources := $(sort $(filter-out $(if $(WITHOUT_CPU),src/app/bench%),$(wildcard src/app/*.c)))
support_sources := $(sort $(filter-out tests/test_% tests/fuzz_% tests/bench_%,$(wildcard tests/*.c)))
test_sources := $(sort $(wildcard tests/test_*.c))
verso_tests := $(sort $(wildcard tests/test_cuda_*.c) tests/test_decode_loop.c tests/test_session_fork.c \
	$(wildcard tests/test_prefix_*.c tests/test_engine*.c))
bench_sources := $(sort $(wildcard tests/bench_*.c))
fuzzed_sources := $(filter-out src/sim/%,$(library_sources))
fuzz_sources := $(sort $(wildcard tests/fuzz_*.c))

library := $(BUILD)/libfolio.a
support := $(BUILD)/libsupport.a
commands := $(BUILD)/libcommands.a
command := $(BUILD)/folio
unit_tests := $(test_sources:tests/%.c=$(BUILD)/tests/%)
script_tests := $(sort $(wildcard tests/test_*.py))
installed := $(patsubst %.c,$(BUILD)/%.o,$(filter-out src/sim/%,$(library_sources))) \
	$(cuda_sources:%.cu=build/cuda/%.cuda.o)
benches := $(bench_sources:tests/%.c=$(BUILD)/tests/%)
verso := $(simulated_sources:%.cu=$(BUILD)/%.sim.o) $(cuda_sources:%.cu=build/cuda/%.cuda.o)
kernels := $(test_kernels:%.cu=$(BUILD)/%.sim.o)
objects := $(patsubst %.c,$(BUILD)/%.o,$(library_sources) $(app_sources) \
	$(support_sources) $(test_sources) $(bench_sources)) $(verso) $(kernels)

# V=1 shows each command as it runs.
Q := $(if $(V),,@)
say = @$(if $(V),:,printf '  %-8s %s\n' $1 $2)

.PHONY: all help
all: $(command) ## Build the command `folio`

help: ## List the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-14s %s\n", $$1, $$2 }' Makefile

# ---- Building ---------------------------------------------------------------

$(BUILD)/deps: scripts/deps
	@scripts/deps build
	@mkdir -p $(@D) && touch $@

$(BUILD)/%.o: %.c Makefile | $(BUILD)/deps
	@mkdir -p $(@D)
	$(call say,compile,$<)
	$(Q)$(CC) $(CPPFLAGS) $(CFLAGS) -MMD -MP -c $< -o $@

$(BUILD)/%.sim.o: %.cu Makefile | $(BUILD)/deps
	@mkdir -p $(@D)
	$(call say,simulate,$<)
	$(Q)$(CXX) $(CPPFLAGS) $(SIMULATED) -MMD -MP -c $< -o $@

build/cuda/%.cuda.o: %.cu Makefile | $(BUILD)/deps
	@mkdir -p $(@D)
	$(call say,nvcc,$<)
	$(Q)$(NVCC) -Isrc -D_GNU_SOURCE $(NVCCFLAGS) -MMD -MP -c $< -o $@

$(library): $(library_sources:%.c=$(BUILD)/%.o) $(verso)
$(support): $(support_sources:%.c=$(BUILD)/%.o) $(kernels)
$(commands): $(patsubst %.c,$(BUILD)/%.o,$(filter-out src/app/main.c,$(app_sources)))
$(library) $(support) $(commands):
	@rm -f $@
	$(Q)ar rcs $@ $^

$(command): $(app_sources:%.c=$(BUILD)/%.o) $(library)
	$(call say,link,$@)
	$(Q)$(CC) $(LDFLAGS) $^ $(LDLIBS) -o $@

$(BUILD)/tests/%: $(BUILD)/tests/%.o $(support) $(commands) $(library)
	$(call say,link,$@)
	$(Q)$(CC) $(LDFLAGS) $^ -lcmocka $(LDLIBS) -o $@

# It carries the page within itself, word for word.
$(BUILD)/src/server/map.o: src/server/page.html

.PHONY: tests benches
tests: $(unit_tests) ## Build the unit tests without running them
benches: $(benches)

.SECONDARY: $(objects)
-include $(objects:.o=.d)

# The library's own objects may lie anywhere in memory, as a shared one must.
$(filter $(BUILD)/%,$(installed)): CFLAGS += -fPIC -fno-semantic-interposition

# ---- Using ------------------------------------------------------------------

.PHONY: run
run: $(command) ## Generate text with the bundled model (PROMPT=..., MODEL=...)
	$(command) run -m $(MODEL) -p '$(PROMPT)'

# ---- Testing ----------------------------------------------------------------

# The script tests judge the tools and the plain command; a sanitizer build runs
# the unit tests.
.PHONY: test test-unit valgrind lint format fuzz
test: $(unit_tests) $(if $(SAN),,$(command)) ## Run every test (SAN=address,undefined or thread)
	$(PYTHON) scripts/test $(unit_tests) $(if $(SAN),,$(script_tests))

test-unit: $(unit_tests) ## Run the unit tests alone
	$(PYTHON) scripts/test $(unit_tests)

# On the true head shape; a line a minute tells how it goes.
STRESS_SECONDS ?= 600
.PHONY: stress
stress: $(BUILD)/tests/test_stress ## Run sequences in and out for STRESS_SECONDS (600)
	STRESS_SECONDS=$(STRESS_SECONDS) $<

.PHONY: test-rows
test-rows: $(unit_tests) $(command) ## List what Folio must do, and run the tests that prove it
	$(PYTHON) scripts/test_rows $(BUILD)

# Valgrind knows no AVX-512, and is slow: the largest grids run in part.
valgrind: ## Run the unit tests under valgrind
	@scripts/deps check
	$(MAKE) BUILD=build/valgrind MARCH=x86-64-v3 tests
	TEST_WRAPPER="valgrind -q --error-exitcode=99 --leak-check=full \
	--errors-for-leak-kinds=definite" FOLIO_QUICK=1 OMP_NUM_THREADS=2 \
	$(PYTHON) scripts/test $(test_sources:tests/%.c=build/valgrind/tests/%)

# FOLIO_DEVICE=cuda with BUILD=build/cuda gathers the same rows on a GPU.
.PHONY: parity
parity: $(verso_tests:tests/%.c=$(BUILD)/tests/%) ## Print every op and rung of the CUDA side with its worst error
	$(PYTHON) scripts/parity $(BUILD)

# Every wrong variant in tests/mutants must make a test fail.
.PHONY: mutants
mutants: tests ## Plant each bug of tests/mutants and see a test kill it
	$(PYTHON) scripts/mutants

lint: ## Check the book against src, include directions, widths and format
	scripts/lit check
	$(PYTHON) scripts/lint
	@! command -v clang-format >/dev/null || \
	clang-format --dry-run --Werror $$(git ls-files '*.c' '*.h' '*.cu' '*.cuh')

format: ## Format src and tests, and carry it back into the book
	clang-format -i $$(git ls-files '*.c' '*.h' '*.cu' '*.cuh')
	scripts/lit stitch

# The simulator has hooks of its own where a sanitizer's would be: it stays out.
FUZZED := -std=c17 -O1 $(DEBUG) -fopenmp -DFO_NO_SIM $(WARN) -Wno-pass-failed \
	-fsanitize=address,undefined -fno-sanitize-recover=all
fuzzed_objects := $(patsubst %.c,$(BUILD)/fuzz/%.o,$(fuzzed_sources) $(support_sources))

$(BUILD)/fuzz/%.o: %.c Makefile
	@scripts/deps check
	@mkdir -p $(@D)
	$(call say,compile,$<)
	$(Q)clang $(CPPFLAGS) $(FUZZED) -fsanitize=fuzzer-no-link -MMD -MP -c $< -o $@

$(BUILD)/fuzz/%: $(BUILD)/fuzz/tests/%.o $(fuzzed_objects)
	$(call say,link,$@)
	$(Q)clang $(FUZZED) -fsanitize=fuzzer $(BLAS_FLAGS) $^ -lcmocka $(LDLIBS) -o $@

.SECONDARY: $(fuzzed_objects) $(fuzz_sources:%.c=$(BUILD)/fuzz/%.o)
-include $(fuzzed_objects:.o=.d)

fuzz: $(fuzz_sources:tests/%.c=$(BUILD)/fuzz/%) ## Fuzz the parsers and the engine for FUZZ_SECONDS each
	@for target in $^; do \
	  corpus=$(BUILD)/corpus/$$(basename $$target); mkdir -p $$corpus; \
	  echo "== $$target, $(FUZZ_SECONDS) s"; \
	  $$target -max_total_time=$(FUZZ_SECONDS) -max_len=65536 -rss_limit_mb=4096 \
	    -print_final_stats=1 -verbosity=0 $$corpus || exit 1; \
	done

.PHONY: http-fuzz
http-fuzz: $(command) ## Send the server 100,000 broken requests
	$(PYTHON) scripts/http_fuzz $(BUILD)

# ---- A GPU ------------------------------------------------------------------

# What nvcc builds lies in build/cuda. A GPU is needed to run it, not to build it.
.PHONY: cuda cuda-tests test-cuda sanitize-cuda cuda-report
cuda: ## Compile all CUDA code with nvcc, and build `folio` for a GPU alone
	@scripts/cuda_present nvcc
	$(MAKE) WITH_CUDA=1 cuda-tests
	$(MAKE) WITH_CUDA=1 WITHOUT_CPU=1

cuda-tests: $(command) $(verso_tests:tests/%.c=$(BUILD)/tests/%)

test-cuda: ## On a GPU: parity, goldens, pool traces, memory, generation
	@scripts/cuda_present nvcc gpu
	$(MAKE) WITH_CUDA=1 cuda-tests
	$(PYTHON) scripts/test_cuda build/cuda

sanitize-cuda: ## On a GPU: the four tools of compute-sanitizer over the parity tests
	@scripts/cuda_present nvcc gpu compute-sanitizer
	$(MAKE) WITH_CUDA=1 cuda-tests
	$(PYTHON) scripts/test_cuda --sanitize build/cuda

cuda-report: ## Registers and spills of every kernel, as ptxas tells
	@scripts/cuda_present nvcc
	NVCC=$(NVCC) $(PYTHON) scripts/cuda_report

# ---- Goldens ----------------------------------------------------------------

.PHONY: golden golden-check
golden: $(command) ## Write golden/ again from the CPU path
	$(PYTHON) scripts/golden write

golden-check: $(command) $(BUILD)/tests/test_golden ## Verify, recompute and judge golden/
	$(PYTHON) scripts/golden check
	$(BUILD)/tests/test_golden

# ---- The book ---------------------------------------------------------------

.PHONY: book tangle
tangle: ## Write src/ and the chapters' tests from the book
	scripts/lit tangle

book: ## Weave the book: build/book/index.html and build/book/folio.pdf
	@scripts/deps book
	scripts/lit book

# ---- Installing -------------------------------------------------------------

# The simulator stays at home: libfolio has the devices that one runs models on.
VERSION := 0.1.0
PREFIX ?= /usr/local
BINDIR ?= $(PREFIX)/bin
LIBDIR ?= $(PREFIX)/lib
INCLUDEDIR ?= $(PREFIX)/include
DATADIR ?= $(PREFIX)/share
SONAME := libfolio.so.0
archive := $(BUILD)/install/libfolio.a
below = $(patsubst $(PREFIX)/%,$${prefix}/%,$1)
shared := $(BUILD)/install/libfolio.so.$(VERSION)

$(archive): $(installed)
	@mkdir -p $(@D) && rm -f $@
	$(Q)ar rcs $@ $^

$(shared): $(installed) scripts/folio.map
	@mkdir -p $(@D)
	$(call say,link,$@)
	$(Q)$(CC) -shared -Wl,-soname,$(SONAME),--version-script,scripts/folio.map,-z,defs \
	$(filter-out -no-pie,$(LDFLAGS)) $(installed) $(LDLIBS) -o $@

# folio.h and whatever it includes; each names the others by where they lie.
.PHONY: install uninstall
install: $(command) $(archive) $(shared) ## Install libfolio, its headers and `folio` (PREFIX, DESTDIR)
	install -d $(addprefix $(DESTDIR),$(BINDIR) $(LIBDIR)/pkgconfig $(DATADIR)/folio \
	$(INCLUDEDIR)/folio/common $(INCLUDEDIR)/folio/model $(INCLUDEDIR)/folio/engine)
	install -m 755 $(command) $(DESTDIR)$(BINDIR)/folio
	install -m 644 golden/folio-tiny.gguf $(DESTDIR)$(DATADIR)/folio/
	install -m 644 $(archive) $(DESTDIR)$(LIBDIR)/
	install -m 755 $(shared) $(DESTDIR)$(LIBDIR)/
	ln -sf $(notdir $(shared)) $(DESTDIR)$(LIBDIR)/$(SONAME)
	ln -sf $(SONAME) $(DESTDIR)$(LIBDIR)/libfolio.so
	sed -e 's|@PREFIX@|$(PREFIX)|; s|@LIBDIR@|$(call below,$(LIBDIR))|' \
	-e 's|@INCLUDEDIR@|$(call below,$(INCLUDEDIR))|' \
	-e 's|@VERSION@|$(VERSION)|; s|@LIBS@|$(BLAS_FLAGS) -fopenmp $(LDLIBS)|' \
	scripts/folio.pc.in >$(DESTDIR)$(LIBDIR)/pkgconfig/folio.pc
	install -m 644 src/app/folio.h $(DESTDIR)$(INCLUDEDIR)/folio/
	for h in $$($(CC) -Isrc -MM src/app/folio.h | grep -o 'src/[a-z]*/[a-z_]*\.h' | \
	grep -v src/app); do sed 's|#include "\([a-z]*/[a-z_]*\.h\)"|#include "../\1"|' $$h \
	>$(DESTDIR)$(INCLUDEDIR)/folio/$${h#src/}; done

uninstall: ## Remove what `make install` put there
	rm -rf $(DESTDIR)$(INCLUDEDIR)/folio $(DESTDIR)$(DATADIR)/folio
	rm -f $(DESTDIR)$(BINDIR)/folio $(DESTDIR)$(LIBDIR)/pkgconfig/folio.pc \
	$(addprefix $(DESTDIR)$(LIBDIR)/,libfolio.a libfolio.so $(SONAME) $(notdir $(shared)))

# ---- Measuring --------------------------------------------------------------

.PHONY: bench-cpu
bench-cpu: $(command) ## Measure the CPU path against this machine's limits
	$(PYTHON) scripts/bench_cpu

.PHONY: clean
clean: ## Remove all that was built
	rm -rf build

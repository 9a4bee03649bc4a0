# Every task of this project, each from a fresh clone: Python >= 3.11, make and a C compiler are enough.
# Everything is installed into .venv; a stamp in it stands for each step that is done and up to date.

PYTHON ?= python3 python3.13 python3.12 python3.11
VENV   := .venv
BIN    := $(VENV)/bin
PIP    := $(BIN)/python -m pip --disable-pip-version-check --quiet
WITHIN := PATH="$(CURDIR)/$(BIN):$$PATH"
ASV    := $(WITHIN) asv --config asv_bench/asv.conf.json

# What asv's pages are drawn with, as they name it; they would load it from elsewhere.
PAGE_LIBRARIES := jquery@3.3.1 flot@0.8.3 flot-orderbars@1.0.0 stupid-table-plugin@1.1.3 blueimp-md5@2.19.0 \
                  bootstrap@3.1.1
N ?= 3

# Both commits are measured, each beside NumPy, or the class axis first beside last, strided logits beside contiguous
# ones, rows of labels beside plain ones, on one thread. Left out are arrays larger than the caches: the memory is shared
# with whatever else runs, and ratios there move by more than 15 %.
RATIOS  := track_time_vs_(numpy|class_axis_last|contiguous|plain)\((?!.*(4000000|4096x1000))

CYTHON_FILES := $(wildcard fastbce/*.pyx fastbce/*.pxd)
C_FILES      := $(wildcard fastbce/*.h fastbce/simd/*.c fastbce/simd/*.h)
C_TESTS      := $(wildcard tests/*.c)

FUZZ_SECONDS ?= 300

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.NOTPARALLEL:
.SUFFIXES:
.PHONY: help demo test test-all test-peers test-asan test-old-cpu test-serial test-tsan test-memcheck test-parallel fuzz \
        hashes accuracy lint format bench bench-compare bench-check variants dashboard build clean

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-13s %s\n", $$1, $$2 }' Makefile

demo: $(VENV)/.built $(VENV)/.group-demo ## train on flights, tumours and digits; prints a table, writes demo.png
	$(BIN)/python examples/demo.py

test: $(VENV)/.built $(VENV)/.group-test $(VENV)/.dashboard ## run the tests (ARGS="-k name" to choose)
	$(BIN)/python -m pytest $(ARGS)

test-all: $(VENV)/.built $(VENV)/.group-test $(VENV)/.dashboard ## run the slow tests too
	$(BIN)/python -m pytest -m "" $(ARGS)

test-peers: $(VENV)/.built $(VENV)/.group-test $(VENV)/.group-peers ## install torch, jax, ... and compare with them too
	$(BIN)/python -m pytest $(ARGS)

test-asan: build/asan/.built $(VENV)/.built $(VENV)/.group-test ## run the tests under AddressSanitizer and UBSan
	$(ASAN) PYTHONPATH=$(CURDIR)/build/asan/lib $(BIN)/python -P -m pytest $(NOT_ASAN) $(ARGS)

# Instrumented code is other code, QEMU leaves AddressSanitizer no room, a browser does not start with it, and memory that
# is freed or limited is another thing with it.
NOT_ASAN := --ignore=tests/test_vectorised.py --ignore=tests/test_old_cpu.py --ignore=tests/test_dashboard.py \
            --deselect=tests/test_process.py::test_nothing_leaks \
            --deselect=tests/test_threads.py::test_threads_that_cannot_be_started

# Four times mpmath takes half an hour, and shares nothing.
SLOW_REFERENCE := accuracy edge_cases reference

# What takes a while in an emulator, and no more.
QUICK := shapes empty

test-tsan: build/tsan/.built $(VENV)/.built $(VENV)/.group-test ## run kernels and calls in threads under ThreadSanitizer
	@test -e $(ARCHER) || $(call needs,libarcher.so,libomp-dev)
	$(BIN)/python -m pytest -m "" tests/test_kernel_threads.py $(ARGS)
	$(TSAN) PYTHONPATH=$(CURDIR)/build/tsan/lib $(BIN)/python tests/threads_tsan.py

test-memcheck: $(VENV)/.built ## make calls under valgrind's memcheck
	@$(call needs,valgrind,valgrind)
	PYTHONMALLOC=malloc FASTBCE_ISA=avx2 valgrind --quiet --error-exitcode=1 --leak-check=no \
	    --suppressions=tests/memcheck.supp $(BIN)/python tests/memcheck.py

test-parallel: $(VENV)/.built $(VENV)/.group-test $(VENV)/.group-parallel ## run tests in several threads at once
	$(BIN)/python -m pytest --parallel-threads=4 $(SLOW_REFERENCE:%=--ignore=tests/test_%.py) $(ARGS)

fuzz: build/fuzz/.built $(VENV)/.group-test $(VENV)/.group-fuzz ## call with anything, guided by coverage (FUZZ_SECONDS=300)
	@mkdir -p build/fuzz/found build/fuzz/corpus
	LD_PRELOAD=$$($(BIN)/python -c 'import atheris; print(atheris.path())')/asan_with_fuzzer.so \
	ASAN_OPTIONS=detect_leaks=0:allocator_may_return_null=1:quarantine_size_mb=16 OMP_WAIT_POLICY=passive PYTHONPATH=$(CURDIR)/build/fuzz/lib \
	$(BIN)/python tests/fuzz.py --outcomes=build/fuzz/outcomes.json -max_total_time=$(FUZZ_SECONDS) -max_len=400 \
	    -len_control=0 -verbosity=0 -artifact_prefix=build/fuzz/found/ -rss_limit_mb=4096 -timeout=30 $(ARGS) build/fuzz/corpus
	@echo "outcomes: $$(cat build/fuzz/outcomes.json)"

test-old-cpu: $(VENV)/.built $(VENV)/.group-test ## run some tests as if on a CPU without AVX, in QEMU
	@$(call needs,qemu-x86_64,qemu-user)
	qemu-x86_64 -cpu Nehalem $(BIN)/python -m pytest $(or $(ARGS),$(QUICK:%=tests/test_%.py))

test-serial: build/serial/.built $(VENV)/.built $(VENV)/.group-test ## run some tests with a build without OpenMP
	PYTHONPATH=$(CURDIR)/build/serial/lib $(BIN)/python -P -m pytest \
	    $(or $(ARGS),$(QUICK:%=tests/test_%.py) tests/test_threads_isa.py tests/test_outputs.py)

hashes: $(VENV)/.built $(VENV)/.group-test ## rewrite tests/kernel_hashes.txt, after a change that is meant to move bits
	$(BIN)/python tests/test_kernel_hashes.py --update

accuracy: $(VENV)/.built $(VENV)/.group-accuracy $(if $(findstring --peers,$(ARGS)),$(VENV)/.group-peers) ## measure every error in ULP (ARGS=--exhaustive: every float32)
	$(BIN)/python tools/accuracy.py $(ARGS)

lint: $(VENV)/.built $(VENV)/.group-lint ## check style and types: Python, stubs, Cython, C
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	$(BIN)/python -m mypy.stubtest --concise --mypy-config-file pyproject.toml --allowlist .ci/stubtest_allowlist.txt --ignore-unused-allowlist fastbce
	$(WITHIN) cython-lint $(CYTHON_FILES)
	$(BIN)/clang-format --dry-run -Werror $(C_FILES) $(C_TESTS)

format: $(VENV)/.group-lint ## rewrite Python and C in the project's style
	$(BIN)/ruff check --fix --exit-zero
	$(BIN)/ruff format
	$(BIN)/clang-format -i $(C_FILES) $(C_TESTS)

bench: $(VENV)/.asv ## measure the last commit with asv, one round (BENCH=regex to choose)
	$(ASV) run --attribute rounds=1 $(if $(BENCH),--bench '$(BENCH)') HEAD

bench-compare: $(VENV)/.asv ## fail if the last commit is slower than BASE=revision, beside NumPy, by over 15 %
	@test -n "$(BASE)" || { echo "usage: make bench-compare BASE=revision" >&2; exit 2; }
	@$(WITHIN) python tools/compare_speed.py '$(BASE)' --bench '$(or $(BENCH),$(RATIOS))'

variants: $(VENV)/.built $(VENV)/.group-test ## time options, layouts and dtypes beside the plain call
	$(BIN)/python tools/variants.py $(ARGS)

dashboard: $(VENV)/.asv $(VENV)/.dashboard ## measure the last N=3 commits of main that were not yet; publish all as HTML
	$(ASV) run --skip-existing --attribute rounds=1 $(if $(BENCH),--bench '$(BENCH)') main~$(N)..main
	$(ASV) publish
	$(BIN)/python tools/offline_dashboard.py .asv/html $(VENV)/dashboard
	@echo "To open it: $(BIN)/python -m http.server --directory .asv/html 8000, and http://127.0.0.1:8000/ in a browser."

bench-check: $(VENV)/.built $(VENV)/.group-bench ## import and check the benchmarks without running them
	$(ASV) check --environment existing:$(CURDIR)/$(BIN)/python

build: $(VENV)/.built ## compile the package into the work tree and install it, editable, into .venv

clean: ## remove everything that was built or installed
	rm -rf $(VENV) .asv build dist *.egg-info .hypothesis .mypy_cache .pytest_cache .ruff_cache
	rm -f fastbce/*.so $(patsubst %.pyx,%.c,$(wildcard fastbce/*.pyx))
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

# --- set-up ---------------------------------------------------------------------------------------------

# The first interpreter of the list that is new enough and has what a build in a virtual environment takes.
USABLE := import ensurepip, os, sys, sysconfig, venv; \
          header = os.path.join(sysconfig.get_path("include"), "Python.h"); \
          sys.exit(sys.version_info < (3, 11) or not os.path.exists(header))

$(VENV)/.pip:
	@for python in $(PYTHON); do \
	    if $$python -c '$(USABLE)' 2>/dev/null; then found=$$python; break; fi; \
	done; \
	if [ -z "$$found" ]; then \
	    echo "make: no usable Python among: $(PYTHON)" >&2; \
	    echo "Needed: Python 3.11 or newer with venv, ensurepip and Python.h (on Debian: python3-dev, python3-venv)." >&2; \
	    echo "To name one: make PYTHON=/path/to/python ..." >&2; \
	    exit 1; \
	fi; \
	echo "creating $(VENV) with $$found ($$($$found -c 'import sys; print(sys.version.split()[0])'))"; \
	$$found -m venv --clear $(VENV)
	@$(PIP) install --upgrade 'pip>=25.1'
	@touch $@

$(VENV)/.group-%: pyproject.toml $(VENV)/.pip
	@echo "installing the dependency group '$*' into $(VENV)"
	@$(PIP) install --group $*
	@touch $@

# asv keeps what it knows of this machine in the home directory.
$(VENV)/.asv: $(VENV)/.group-bench
	@grep -qs "\"$$(uname -n)\":" ~/.asv-machine.json || $(ASV) machine --yes
	@touch $@

# Without npm, or without a network, the dashboard loads its libraries from elsewhere, and its test is skipped.
$(VENV)/.dashboard: $(VENV)/.pip
	@if npm install --silent --no-audit --no-fund --fetch-timeout=20000 --fetch-retries=1 \
	    --prefix $(VENV)/dashboard $(PAGE_LIBRARIES) 2>/dev/null; then touch $@; \
	else echo "no npm, or no network: the dashboard cannot be tested, nor opened offline"; fi

# Stop if a program is missing, and say in which of Debian's packages it is.
needs = command -v $(1) >/dev/null || { echo "make: needs $(1) (on Debian: apt-get install $(2))" >&2; exit 1; }

# Another build, beside the usual one, as two variables of setup.py say. Under ThreadSanitizer teams are late, and calls
# would go without.
BUILD_asan := FASTBCE_SANITIZE=address,undefined
BUILD_tsan := FASTBCE_SANITIZE=thread CFLAGS=-DFB_MOST_ALONE=2
BUILD_serial := FASTBCE_OPENMP=0
BUILD_fuzz := FASTBCE_SANITIZE=address,fuzzer-no-link CC=clang

build/%/.built: setup.py pyproject.toml $(CYTHON_FILES) $(C_FILES) $(wildcard fastbce/*.py) $(VENV)/.group-build
	@$(if $(findstring clang,$(BUILD_$*)),$(call needs,clang,clang))
	@echo "building fastbce into $(@D)"
	@$(BUILD_$*) $(BIN)/python -W ignore setup.py --quiet build --build-base $(@D) --build-lib $(@D)/lib
	@touch $@

# Python itself leaves memory to the system when it ends. Its small blocks come from malloc, so that they are watched, too.
# Stacks stay where they are: those that GCC before 14 puts elsewhere are not aligned for AVX-512's stores (GCC bug 110027).
# libstdc++, because ASan must know how other libraries throw exceptions before they do.
ASAN := ASAN_OPTIONS=detect_leaks=0:detect_stack_use_after_return=0:allocator_may_return_null=1 UBSAN_OPTIONS=print_stacktrace=1 \
        LD_PRELOAD="$$($(CC) -print-file-name=libasan.so) $$($(CC) -print-file-name=libstdc++.so.6)" PYTHONMALLOC=malloc

# ThreadSanitizer cannot see into GCC's OpenMP runtime, and reports what its barriers order. LLVM's has the same entry
# points, and tells Archer of its barriers. (setarch: as in tests/test_kernel_threads.py.)
LIBOMP = $$($(CC) -print-file-name=libomp.so.5)
ARCHER = "$$(dirname "$$(readlink -f "$(LIBOMP)")")/libarcher.so"
TSAN   = setarch -R env LD_PRELOAD="$$($(CC) -print-file-name=libtsan.so) $(LIBOMP)" OMP_TOOL_LIBRARIES=$(ARCHER) \
         TSAN_OPTIONS=suppressions=tests/tsan.supp OMP_WAIT_POLICY=passive

$(VENV)/.installed: pyproject.toml $(VENV)/.group-build
	@echo "building fastbce"
	@PYTHONWARNINGS=ignore $(PIP) install --no-build-isolation --no-deps --editable .
	@touch $@

# To install it again would compile every file again, which takes two minutes; this compiles those that changed.
$(VENV)/.built: $(VENV)/.installed setup.py $(CYTHON_FILES) $(C_FILES)
	@! test -e $@ || (echo "building fastbce" && PYTHONWARNINGS=ignore $(BIN)/python setup.py --quiet build_ext --inplace \
	    --build-lib build/inplace --build-temp build/inplace/temp)
	@touch $@

# Needs Python 3.10 or later, a C++17 compiler and make; everything else goes into .venv. `make fuzz`
# also needs clang.

PYTHON ?= python3
PYTEST_ARGS ?=
# Releases to install, for the same ones every time: make CONSTRAINTS=.ci/constraints.txt
CONSTRAINTS ?=
# Of the cases that `make nightly` draws: the same number draws the same ones.
SEED := $(or $(SEED),$(shell date +%s))

BIN := .venv/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check --quiet
PYTEST := $(BIN)/python -m pytest --numprocesses auto --dist worksteal
SOURCES := $(shell find runtime/src -name '*.cc' -o -name '*.h')
CPP := $(filter-out %.gen.h,$(SOURCES)) $(wildcard runtime/fuzz/*)
# The install is editable: only what changes the dependencies or the C++ library needs a new one.
BUILD_REQUIRES := $(shell sed -n 's/^requires = \[\(.*\)\]/\1/p' pyproject.toml | tr -d ',')
INSTALL_INPUTS := pyproject.toml cmake/CMakeLists.txt $(SOURCES) $(CONSTRAINTS)

# The simulator without its module, under the sanitizers: it needs no Python at all.
CMAKE := $(BIN)/cmake -S cmake
CLANGXX ?= clang++
SEEDS := $(CURDIR)/build/fuzz/seeds
CHANGED_PROGRAMS ?= 50000
MADE_PROGRAMS ?= 5000
FUZZED_PROGRAMS ?= 20000
LOADED_PROGRAMS ?= 6000
# The fuzzers' own: in CI the same programs every time.
FUZZ_SEED ?= 1
MUTANTS_ARGS ?=

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.PHONY: help demo test nightly lint types format sanitize changed made replay threads fuzz guided loaders seeds \
  mutants clean

help: ## List the targets.
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "make %-8s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

demo: .venv/installed-demo ## Install into .venv, then quantize, compile and simulate the demo models.
	$(BIN)/microscopiq demo

test: .venv/installed-test ## Install into .venv with the test tools and run all but the slow tests.
	$(PYTEST) $(PYTEST_ARGS)

nightly: .venv/installed-test ## Tests and fuzzers for longer, other cases in every run; SEED=N repeats one.
	@echo "cases drawn with SEED=$(SEED)"
	$(PYTEST) -m "" --hypothesis-profile=random --hypothesis-seed=$(SEED) $(PYTEST_ARGS)
	$(BIN)/python -m benchmarks.onnx_backend --jobs 2 --against tests/e2e/onnx_backend.csv
	$(MAKE) --jobs 2 --output-sync=target sanitize fuzz FUZZ_SEED=$(SEED) CHANGED_PROGRAMS=1000000 MADE_PROGRAMS=200000 \
	  FUZZED_PROGRAMS=500000 LOADED_PROGRAMS=60000

lint: .venv/installed-lint types ## Check style and types, change nothing.
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/clang-format --dry-run --Werror $(CPP)

format: .venv/installed-lint ## Rewrite the sources in the project's style.
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .
	$(BIN)/clang-format -i $(CPP)

# Each of these keeps one core busy: `make --jobs 2 sanitize fuzz` takes little more than half of the time.
sanitize: changed made threads ## Run programs, changed and made-up ones under ASan, UBSan; threads under TSan.

changed: replay seeds
	cd build/sanitize && ./microscopiq_fuzz --legal $(SEEDS)/*.bin
	cd build/sanitize && ./microscopiq_fuzz --seed $(FUZZ_SEED) --mutations $(CHANGED_PROGRAMS) $(SEEDS)/*.bin

made: replay
	cd build/sanitize && ./microscopiq_fuzz --seed $(FUZZ_SEED) --made $(MADE_PROGRAMS)

replay: .venv/installed-test
	$(CMAKE) -DMICROSCOPIQ_SANITIZE=ON -B build/sanitize -DCMAKE_CXX_COMPILER=$(CXX)
	$(BIN)/cmake --build build/sanitize --target microscopiq_fuzz --parallel 2

threads: .venv/installed-test seeds ## Run programs in several threads under TSan.
	$(CMAKE) -DMICROSCOPIQ_THREADS=ON -B build/threads -DCMAKE_CXX_COMPILER=$(CXX)
	$(BIN)/cmake --build build/threads --parallel 2
	cd build/threads && TSAN_OPTIONS=halt_on_error=1 ./microscopiq_threads $(SEEDS)/*.bin

fuzz: guided loaders ## Search for programs that break the loaders or the simulator.

guided: .venv/installed-test seeds
	@command -v $(CLANGXX) || { echo "make fuzz needs $(CLANGXX): apt-get install clang"; exit 1; }
	$(CMAKE) -DMICROSCOPIQ_SANITIZE=ON -B build/libfuzzer -DCMAKE_CXX_COMPILER=$(CLANGXX)
	$(BIN)/cmake --build build/libfuzzer --target microscopiq_libfuzzer --parallel 2
	@mkdir -p build/libfuzzer/corpus
	cd build/libfuzzer && ./microscopiq_libfuzzer -runs=$(FUZZED_PROGRAMS) -seed=$(FUZZ_SEED) -timeout=30 \
	  -max_len=65536 -mutate_depth=1 -rss_limit_mb=4096 -verbosity=0 -print_funcs=0 corpus $(SEEDS)

loaders: .venv/installed-test
	$(BIN)/python -m tests.fuzz.loaders --programs $(LOADED_PROGRAMS) --seed $(FUZZ_SEED)

seeds: .venv/installed-test
	$(BIN)/python -m tests.fuzz.seeds $(SEEDS)

mutants: .venv/installed-test ## Change the code at sampled places; tell what no test notices.
	$(BIN)/python -m tests.mutants $(MUTANTS_ARGS)

# The layers lie side by side in this folder; mypy has to find them under their import names.
types:
	@mkdir -p build/types/microscopiq
	@ln -sfn $(addprefix ../../../,target runtime compiler python/microscopiq/__init__.py python/microscopiq/__main__.py) build/types/microscopiq/

clean: ## Remove all that these targets made, .venv included.
	rm -rf .venv build dist microscopiq-demo .pytest_cache .ruff_cache .mypy_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

.venv/pyvenv.cfg:
	@$(PYTHON) -c 'import sys; sys.exit(0 if sys.version_info >= (3, 10) else "Python 3.10 or later is needed, $(PYTHON) is " + sys.version.split()[0] + "; choose one: make PYTHON=python3.11")'
	$(PYTHON) -m venv .venv

# Built with what is in .venv: a second install finds the objects of the first.
.venv/installed-%: $(INSTALL_INPUTS) | .venv/pyvenv.cfg
	$(PIP) install $(BUILD_REQUIRES) cmake ninja
	$(PIP) install $(addprefix --constraint=,$(CONSTRAINTS)) --no-build-isolation --editable '.[$*]'
	@touch $@

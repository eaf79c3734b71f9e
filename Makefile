# make demo, make test: both do all their set-up. `make` alone lists the rest.
SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.NOTPARALLEL:
MAKEFLAGS += --no-builtin-rules --no-print-directory

VENV := .venv
BIN := $(VENV)/bin
PY := $(BIN)/python
DEMO := demo
# The first of these that is Python 3.11 or newer makes the environment; `make PYTHON=/path/to/python demo` names one.
PYTHON ?= $(firstword $(foreach p,python3.11 python3.12 python3.13 python3,$(shell $(p) -c 'import sys; sys.version_info >= (3, 11) and print("$(p)")' 2>/dev/null)))
PIP_FLAGS ?=
PIP := $(PY) -m pip --disable-pip-version-check
# What is imported is compiled by IMPORT, once; the other twenty thousand files would take a minute.
INSTALL := $(PIP) install --quiet --quiet --no-compile --no-warn-script-location $(PIP_FLAGS) -c constraints.txt
IMPORT := $(PY) -c 'import mlflow, ray.data, ray.train.torch, ray.tune, torch, pipeline.cli'
# One run of pytest a level. A level without tests (code 5) is no failure.
PYTEST = $(PY) -m pytest -q
LEVEL = if [ -d tests/$(1) ]; then $(PYTEST) $(2) tests/$(1) || [ $$? -eq 5 ]; else echo "tests/$(1): no tests yet"; fi
# The tables of the method; each makes docs/tables/NAME.{csv,md}.
TABLES := table1 table4 table5 table-references table-features table-robust table-transfer table-red-team table-hardening
FACES ?=
PHOTOS ?=
TABLES_OUT ?= docs/tables
TABLE_FLAGS = $(if $(PHOTOS),--photos $(PHOTOS)) $(if $(GPU),--gpu) $(if $(WEIGHTS),--weights $(WEIGHTS)) \
  $(if $(PICTURES),--pictures $(PICTURES)) $(if $(ADAPTER_PHOTOS),--adapter-photos $(ADAPTER_PHOTOS))
SSH_PROGRAMS := sshd ssh rsync ip unshare nsenter
ACTORS ?= 2
RUNS ?= 20
BENCHES := $(filter-out tests/bench/attacks.py tests/bench/quality.py tests/bench/scale.py tests/bench/chaos.py tests/bench/s3.py tests/bench/objectives.py tests/bench/faces.py tests/bench/centerface.py tests/bench/metadata.py tests/bench/find_signed.py tests/bench/until.py tests/bench/probe.py tests/bench/twice.py tests/bench/universal.py tests/bench/colours.py tests/bench/edits.py tests/bench/arbitrary.py tests/bench/unseen.py tests/bench/visibility.py tests/bench/peers.py tests/bench/identity.py tests/bench/transfer.py,$(sort $(wildcard tests/bench/*.py)))
export PATH := $(CURDIR)/$(BIN):$(PATH):/usr/sbin:/sbin
unexport PYTHONDONTWRITEBYTECODE

.PHONY: help
help:  ## this list
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 10
	@echo
	@echo "Tables of the method, each into $(TABLES_OUT): $(TABLES)"
	@echo "  make table1 FACES=folder      (faces, with labels.csv if there is one); make tables FACES=folder makes all"
	@echo "  PHOTOS=n  GPU=1  ADAPTER_PHOTOS=n; files of your own: WEIGHTS=\"cyclegan=file ...\" PICTURES=\"cyclegan=folder ...\""

.PHONY: demo
demo: $(VENV)/.samples  ## protect a dozen sample photos with a shipped generator, into demo/protected
	@$(PY) -m pipeline.jobs.samples $(DEMO)/photos
	@code=0; $(BIN)/disrupt protect $(DEMO)/photos $(DEMO)/protected --quality medium || code=$$?; \
	if [ $$code -eq 2 ]; then echo "If an older demo is in the way: make clean demo"; fi; \
	if [ $$code -eq 1 ]; then echo "Not every sample is disrupted in every class; the report says which."; code=0; fi; exit $$code

.PHONY: test
test: lint fast golden ray slow  ## everything: lint, types and all levels of tests
	@if $(PY) -c 'import sys, torch; sys.exit(not torch.cuda.is_available())'; then $(call LEVEL,gpu); \
	else echo "tests/gpu: not run, torch sees no GPU here"; fi
	@echo "make test: all passed"

.PHONY: fast golden ray slow gpu lint bench clean distclean
fast: $(VENV)/.dev  ## tests without Ray, a minute or two
	@export OMP_NUM_THREADS=1; $(call LEVEL,fast,-n auto)

golden: $(VENV)/.dev  ## tests against recorded numbers (they need the shared data)
	@[ -d "$${DISRUPT_SHARED:-../shared}" ] || echo "tests/golden: no $${DISRUPT_SHARED:-../shared}, its tests are skipped"
	@$(call LEVEL,golden)

ray: $(VENV)/.dev  ## tests on a local Ray and on SSH hosts in namespaces, two files at a time
	@for p in $(SSH_PROGRAMS); do command -v $$p >/dev/null \
	  || echo "tests/ray: $$p is not installed, the SSH tests are skipped: apt-get install openssh-server openssh-client rsync iproute2 util-linux"; done
	@export OMP_NUM_THREADS=1; $(call LEVEL,ray,-n 2 --dist loadfile --no-loadscope-reorder)

slow: $(VENV)/.dev  ## longer tests, several at a time: MLflow, trainings and searches on Ray, the shipped nets, the pages' commands
	@export OMP_NUM_THREADS=1; $(call LEVEL,slow,-n auto --dist loadgroup)

gpu: $(VENV)/.dev  ## tests that need a GPU
	@$(call LEVEL,gpu)

lint: $(VENV)/.dev  ## ruff and mypy --strict
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check --output-format concise . || { echo "run: $(BIN)/ruff format ."; exit 1; }
	@$(BIN)/mypy

bench: $(VENV)/.dev  ## speed and memory, printed; no pass or fail
	@[ -n "$(BENCHES)" ] || echo "tests/bench: no scripts yet"
	@for script in $(BENCHES); do echo "== $$script"; PYTHONPATH=. $(PY) $$script; done

.PHONY: bench-peers bench-scale chaos
bench-peers: $(VENV)/.dev  ## the field's loop and this project's ways side by side (FACES=folder, with labels.csv); ten minutes
	@[ -n "$(FACES)" ] || { echo "make $@: name a folder of faces: make $@ FACES=folder"; exit 2; }
	@PYTHONPATH=. OMP_NUM_THREADS=1 $(PY) tests/bench/peers.py "$(FACES)" $(if $(PHOTOS),--photos $(PHOTOS))

chaos: $(VENV)/.dev  ## runs on three hosts in namespaces, disturbed at random (Linux, root); goes on after a stop: chaos.jsonl
	@PYTHONPATH=. $(PY) tests/bench/chaos.py --runs $(RUNS)

bench-scale: $(VENV)/.dev  ## a run of 10 thousand, 100 thousand and a million tiny photos; hours
	@PYTHONPATH=. $(PY) tests/bench/scale.py --actors $(ACTORS)

.PHONY: tables $(TABLES)
tables: $(TABLES)

$(TABLES): $(VENV)/.dev
	@[ -n "$(FACES)" ] || { echo "make $@: name a folder of faces: make $@ FACES=folder"; exit 2; }
	@$(PY) -m pipeline.tables $@ --faces "$(FACES)" --out "$(TABLES_OUT)" $(TABLE_FLAGS)

.PHONY: table-signals
table-signals: $(VENV)/.dev
	@[ -n "$(FACES)" ] && [ -n "$(ACTIVE)" ] || { echo "make $@: name a folder of faces and bundles: make $@ FACES=folder ACTIVE=\"a0/bundle.safetensors ...\""; exit 2; }
	@$(PY) -m pipeline.tables $@ --faces "$(FACES)" --out "$(TABLES_OUT)" --active $(ACTIVE) \
	  $(if $(PASSIVE),--passive $(PASSIVE)) $(if $(SEEN),--seen $(SEEN)) $(if $(CHOSE),--chose $(CHOSE)) $(if $(UNSEEN),--unseen $(UNSEEN)) $(if $(PHOTOS),--photos $(PHOTOS))

clean:  ## remove the demo, caches and builds
	rm -rf $(DEMO) build dist .pytest_cache .mypy_cache .ruff_cache .hypothesis
	find pipeline tests -name __pycache__ -type d -prune -exec rm -rf {} +

distclean: clean  ## also remove .venv
	rm -rf $(VENV) *.egg-info

$(PY):
	@[ -n "$(PYTHON)" ] || { echo "make: needs Python 3.11 or newer; install it, or name it: make PYTHON=/path/to/python3.12 ..."; exit 1; }
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null \
	  || { echo "make: $(PYTHON) cannot make environments; on Debian and Ubuntu: apt-get install python3-venv"; exit 1; }
	@echo "making $(VENV) with $$($(PYTHON) --version)"
	@$(PYTHON) -m venv $(VENV)

$(VENV)/.samples: pyproject.toml constraints.txt | $(PY)
	@echo "installing into $(VENV): about 2 GB, some minutes the first time"
	@$(INSTALL) -e ".[samples]"
	@$(IMPORT)
	@touch $@

$(VENV)/.dev: pyproject.toml constraints.txt | $(PY)
	@echo "installing with the development tools into $(VENV): about 2 GB, some minutes the first time"
	@$(INSTALL) -e ".[samples,dev]"
	@$(INSTALL) --no-deps torchattacks==3.5.1  # by itself it would bring torchvision and old libraries
	@$(IMPORT)
	@touch $@ $(VENV)/.samples

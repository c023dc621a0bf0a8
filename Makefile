# Everything that one does with the project. `make help` lists it.

SHELL := bash
.DEFAULT_GOAL := help
PYTHON ?= python3
BIN := .venv/bin
export PYTHONPATH := e2e:.
# ONNX Runtime would send usage data from every process that imports it.
export ORT_DISABLE_TELEMETRY := 1
CODE := operator/headgate serving/headgate_serving cli/headgate_cli tools e2e tests

.PHONY: help setup demo test test-all unit outages e2e endurance faults soak-decide lint fmt crds images calibration conformance sbom bench-serving bench-hostile bench-router bench-shadow bench-standby bench-follow \
	clean distclean lock cluster-up cluster-down cluster-status cluster-shell cluster-kubeconfig venv

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z0-9-]+:.*## / {printf "  %-20s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

# Last it says which clusters of other checkouts run, and what a test that was killed has left; it ends none.
setup: ## install what is missing on this machine, or say what to install
	@$(PYTHON) -m tools.setup
	@$(PYTHON) -m tools.cluster others

venv:
	@$(PYTHON) -m tools.setup venv
	@$(PYTHON) -m tools.cluster others

demo: setup images cluster-up ## a rollout of a good and of a bad model version on a real cluster
	@$(BIN)/python -m demo

test: setup lint unit ## lint, unit tests, and the stories on a real cluster, which ends if it was not up before
	@was_up=$$($(PYTHON) -m tools.cluster status >/dev/null 2>&1 && echo yes); export CLUSTER_OWNER="make test:$$$$"; \
	$(MAKE) --no-print-directory e2e; result=$$?; \
	[ -n "$$was_up" ] || $(MAKE) --no-print-directory cluster-down || result=1; \
	exit $$result

# What takes long. The endurance run leaves the cluster up as `make test` found it.
test-all: ## everything: `make test`, the conformance of models, endurance, and the tables of docs/evidence.md
	@$(MAKE) --no-print-directory test
	@$(MAKE) --no-print-directory conformance
	@$(MAKE) --no-print-directory outages
	@$(MAKE) --no-print-directory soak-decide
	@was_up=$$($(PYTHON) -m tools.cluster status >/dev/null 2>&1 && echo yes); export CLUSTER_OWNER="make test-all:$$$$"; \
	$(MAKE) --no-print-directory endurance && $(MAKE) --no-print-directory faults; result=$$?; \
	[ -n "$$was_up" ] || $(MAKE) --no-print-directory cluster-down || result=1; \
	exit $$result
	@$(MAKE) --no-print-directory calibration

# By files, for tests of one file mostly share what is slow to start. How many at a time: tests/conftest.py.
unit: venv ## unit tests
	@$(BIN)/python -m pytest tests -q --numprocesses auto --dist loadfile --ignore-glob='tests/apiserver/test_outages*'

outages: setup ## rollouts through ten minutes of a real API server that closes, truncates, delays and refuses by turns
	@$(BIN)/python -m pytest tests/apiserver/test_outages.py tests/apiserver/test_outages_in_rollouts.py -s

e2e: images cluster-up ## the stories on a real cluster, which stays up
	@$(BIN)/python -m stories

endurance: images cluster-up ## twenty promotions and rollbacks, and two minutes without an API server: half an hour
	@ROLLOUTS=20 AWAY=120 $(BIN)/python -m pytest e2e/stories/test_nothing_is_lost.py -s

soak-decide: venv ## a million random steps over the decisions: specs, faults, lost writes, clocks (half an hour)
	@STEPS=1000000 $(BIN)/python -m pytest tests/operator/core/test_interleavings.py -q --numprocesses auto

faults: images cluster-up ## thirty bad and nine good candidates with the default spec: the table in docs/evidence.md (half an hour)
	@$(BIN)/python -m candidates --write

lint: venv ## style, types, import contracts, and that generated files are fresh
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy operator/headgate serving/headgate_serving cli/headgate_cli tools e2e bench tests
	@$(BIN)/lint-imports
	@$(BIN)/python -m headgate.api.generate --check

fmt: venv ## format the code and repair what can be repaired
	@$(BIN)/ruff check --fix-only .
	@$(BIN)/ruff format .

crds: venv ## generate the CRDs from the models
	@$(BIN)/python -m headgate.api.generate

images: setup ## build the container images, without Docker
	@$(BIN)/python -m tools.images

calibration: venv ## simulate whether alpha is kept and how soon bad versions are found: the tables of docs/evidence.md
	@$(BIN)/python -m bench.calibration

# From what the images are built from; the packages of the base image are in that one's own.
sbom: venv ## list the Python packages of the images, with hashes, as CycloneDX: dist/sbom
	@mkdir -p dist/sbom
	@for image in operator serving serving-cuda; do \
		PYTHONWARNINGS=ignore $(BIN)/uv run --quiet --no-project --isolated --with-requirements requirements/sbom.txt \
			cyclonedx-py requirements requirements/$$image.txt --pyproject pyproject.toml --mc-type application \
			--output-reproducible --output-format JSON --output-file dist/sbom/$$image.cdx.json || exit 1; \
		echo "wrote dist/sbom/$$image.cdx.json"; done

conformance: setup ## serve over 2,000 models that others made and compare with ONNX Runtime: docs/conformance.md (ten minutes)
	@$(BIN)/python -m bench.conformance --write
	@$(BIN)/python -m bench.conformance.h2spec --write

bench-serving: venv ## measure ours beside six other servers, in turn: docs/benchmarks.md (an hour and a half)
	@$(PYTHON) -m tools.setup bench
	@$(BIN)/python -m bench.serving --write

bench-hostile: venv ## attack the runtime with promises, broken-off uploads, idle connections and large bodies (a minute)
	@$(BIN)/python -m bench.serving.hostile

bench-router: venv ## measure the router beside nginx and HAProxy, in turn: docs/benchmarks.md (ten minutes)
	@$(PYTHON) -m tools.setup bench
	@$(BIN)/python -m bench.router --write

bench-shadow: venv ## measure what copies for a candidate cost the users
	@$(PYTHON) -m tools.setup bench
	@$(BIN)/python -m bench.router.shadow

bench-standby: venv ## measure what a killed Envoy costs the users, with and without the agent's listener
	@$(PYTHON) -m tools.setup bench
	@$(BIN)/python -m bench.router.standby

bench-follow: images cluster-up ## measure how soon all routers follow a new weight
	@$(BIN)/python -m bench.router.follow

PIN = $(BIN)/uv pip compile --quiet --upgrade --generate-hashes --python-version 3.11 \
	--no-header --no-annotate --no-emit-index-url
lock: venv ## pin the newest versions of all dependencies
	@for extra in operator serving dev; do \
		$(PIN) pyproject.toml --extra $$extra --output-file requirements/$$extra.txt; done
	@echo 'onnxruntime-gpu[cuda,cudnn]' | $(PIN) pyproject.toml - --extra serving \
		--override <(echo "onnxruntime; python_version < '3'") --output-file requirements/serving-cuda.txt
	@printf 'hatchling\neditables\n' | $(PIN) - --output-file requirements/build.txt
	@printf '%s\n' mlflow-skinny aiohttp alembic flask flask-cors numpy pandas sqlalchemy | \
		$(PIN) - --output-file requirements/mlflow.txt
	@echo uv | $(PIN) - --output-file requirements/uv.txt
	@echo cyclonedx-bom | $(PIN) - --output-file requirements/sbom.txt
	@$(PIN) bench/conformance/exporters.in --output-file bench/conformance/exporters.txt

# Who starts it is noted with it: this make, or the one that has called it.
cluster-up: setup ## start the embedded Kubernetes, or keep it if it is up
	@CLUSTER_OWNER="$${CLUSTER_OWNER:-make $(MAKECMDGOALS):$$PPID}" $(BIN)/python -m tools.cluster up

# What ends and shows clusters needs no environment: a checkout that was made anew has none.
cluster-down: ## end it; nothing of it is left
	@$(PYTHON) -m tools.cluster down

cluster-status: ## show its processes, logs and kubeconfig
	@$(PYTHON) -m tools.cluster status

cluster-shell: setup ## a shell in its network, with kubectl and helm
	@$(BIN)/python -m tools.cluster shell

cluster-kubeconfig: venv ## print the path of its kubeconfig
	@$(BIN)/python -m tools.cluster kubeconfig

clean: ## end the cluster of this path, whoever started it, and remove what was built here
	@$(PYTHON) -m tools.cluster clean
	@$(PYTHON) -m tools.cluster others
	@rm -rf .venv dist build .mypy_cache .pytest_cache .ruff_cache .hypothesis .import_linter_cache
	@find operator serving cli tools e2e tests -name __pycache__ -prune -exec rm -rf {} + 2>/dev/null || true

distclean: clean ## and the cache that all checkouts share
	@$(PYTHON) -m tools.setup --forget

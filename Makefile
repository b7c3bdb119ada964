# `make` lists the targets. Everything installs into this tree (.venv, .cache, node_modules), except Kafka's jars,
# which go to the user's cache, so that a second clone does not fetch them again. CACHE_OF_TOKENSTREAM moves that.

SHELL := /bin/sh
.DELETE_ON_ERROR:
.DEFAULT_GOAL := help

UV_VERSION := 0.13.9
KAFKA_VERSION := $(shell sed -n '/kafka_2.13/{n;s:.*<version>\(.*\)</version>.*:\1:p;}' deploy/kafka/pom.xml)
export CACHE_OF_TOKENSTREAM ?= $(if $(XDG_CACHE_HOME),$(XDG_CACHE_HOME),$(HOME)/.cache)/tokenstream
KAFKA := $(CACHE_OF_TOKENSTREAM)/kafka-$(KAFKA_VERSION)

KUBERNETES_VERSION := $(shell sed -n 's:^require k8s.io/kubernetes v::p' deploy/kubernetes-tools/go.mod)
VERSION := $(shell sed -n 's/^version = "\(.*\)"/\1/p' pyproject.toml)
HELM_VERSION := 4.3.1
HELM := $(CACHE_OF_TOKENSTREAM)/helm-$(HELM_VERSION)/helm
KUBERNETES := $(CACHE_OF_TOKENSTREAM)/kubernetes-$(KUBERNETES_VERSION)

BIN := .venv/bin
UV := $(BIN)/uv
S3 := .cache/venv-s3
ARGS ?=

# Compiled code is kept, whatever the environment says: tests and benchmarks start hundreds of processes.
export PYTHONDONTWRITEBYTECODE :=

.PHONY: help
help: ## this list
	@sed -n 's/^\([a-z][a-z0-9-]*\):.*## /\1|/p' $(MAKEFILE_LIST) | awk -F'|' '{printf "  %-21s %s\n", $$1, $$2}'

# Setting up. Each step leaves a stamp, and is repeated only when what it was made from changes.

.PHONY: setup
setup: .venv/.locked .venv/.editable .venv/.compiled node_modules/.locked kafka ## install everything that development and tests need

$(UV):
	@python=$$(.ci/prerequisites) && echo "Python: $$python" && $$python -m venv .venv
	@$(BIN)/python -m pip install -q --disable-pip-version-check uv==$(UV_VERSION)

.venv/.locked: requirements-dev.lock | $(UV)
	$(UV) pip install -q --python $(BIN)/python --require-hashes -r requirements-dev.lock
	@touch $@

.venv/.editable: pyproject.toml devtools/pyproject.toml .venv/.locked
	$(UV) pip install -q --python $(BIN)/python --no-deps -e . -e ./devtools
	@touch $@

# Imports what programs and tests import, once, so that parallel processes do not each compile it. A test that can't be
# imported is reported by the tests.
.venv/.compiled: .venv/.editable
	@$(BIN)/pytest -q --collect-only > $@ || rm -f $@

node_modules/.locked: package.json package-lock.json .npmrc | $(UV)
	npm ci --silent
	@touch $@

# The cache is shared between clones, so times mean nothing there: the pom itself is the stamp.
.PHONY: kafka
kafka: .venv/.editable
	@cmp -s deploy/kafka/pom.xml $(KAFKA)/pom.xml || { \
	  echo "Fetching Apache Kafka $(KAFKA_VERSION) into $(KAFKA)"; \
	  rm -rf $(KAFKA).$$$$ && mkdir -p $(KAFKA).$$$$ && \
	  mvn -q -B -Dstyle.color=never -f deploy/kafka/pom.xml dependency:copy-dependencies -DoutputDirectory=$(KAFKA).$$$$ && \
	  cp deploy/kafka/pom.xml $(KAFKA).$$$$/ && rm -rf $(KAFKA) && mv $(KAFKA).$$$$ $(KAFKA); }
	@$(BIN)/python -m devtools.kafka --prepare

# What is independent of each other is set up at the same time.
.PHONY: everything
everything:
	@$(MAKE) --no-print-directory -j4 setup s3-server

# moto and Faust can't share an environment: see docs/contributing/adr/0001.
.PHONY: s3-server
s3-server: $(S3)/.locked ## install the S3 server that tests store into

$(S3)/.locked: requirements-s3.lock | $(UV)
	$(UV) venv -q --clear --python $(BIN)/python $(S3)
	$(UV) pip install -q --python $(S3)/bin/python --require-hashes -r requirements-s3.lock
	$(S3)/bin/python -c 'import moto.server, moto.s3.responses'
	@touch $@

LOCK := $(UV) pip compile -q --universal --python-version 3.11 --generate-hashes --no-annotate --no-emit-index-url
LOCK += --custom-compile-command 'make lock'
.PHONY: lock
lock: | $(UV) ## pin again what pyproject.toml and package.json ask for (UPGRADE=--upgrade for newer versions)
	$(LOCK) $(UPGRADE) --extra relay -o requirements.lock pyproject.toml
	$(LOCK) $(UPGRADE) --extra relay --group dev -c requirements.lock -o requirements-dev.lock pyproject.toml
	echo 'moto[s3,server]>=5' | $(LOCK) $(UPGRADE) -o requirements-s3.lock -
	printf 'cyclonedx-bom>=7,<8\nhatchling>=1.27\n' | $(LOCK) $(UPGRADE) -o deploy/requirements-build.lock -
	npm install --silent --package-lock-only

# Checking

.PHONY: lint
lint: setup ## style, format, the direction of imports, the language and links of the pages
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/lint-imports
	$(BIN)/pytest -q tests/docs/test_language.py tests/docs/test_links.py

.PHONY: format
format: setup ## format, and fix what ruff can fix
	$(BIN)/ruff check --fix
	$(BIN)/ruff format

.PHONY: types
types: setup ## mypy --strict over product and tests
	$(BIN)/mypy

# Two processes: coverage is measured only where it is asked for, and each imports only what it runs.
UNIT = $(BIN)/pytest -q -p no:xdist -m 'not costly and not long' --hypothesis-profile few -o asyncio_debug=true
DECISIONS := $(addprefix tests/unit/,core direct ports relay topics)
.PHONY: unit unit-decisions unit-shells
unit: setup ## the pure part, few examples of each property: half a minute; prints the branch coverage of topics, core and ports
	@$(MAKE) --no-print-directory -j 2 $(if $(filter output-sync,$(.FEATURES)),--output-sync) unit-decisions unit-shells

unit-decisions:
	$(UNIT) $(DECISIONS) tests/properties --cov --cov-report=term:skip-covered $(ARGS)

unit-shells:
	$(UNIT) tests/unit $(addprefix --ignore=,$(DECISIONS)) $(ARGS)

# More than the cores of a small machine, as most tests wait for other processes.
# A module is run by one process, as what it sets up serves all its tests.
WORKERS ?= 6
PARALLEL = -n $(WORKERS) --dist loadscope --no-loadscope-reorder
.PHONY: test
test: everything ## every test but the long ones (WORKERS= processes)
	$(BIN)/pytest -m 'not long' $(PARALLEL) $(ARGS)
	@if [ -x $(HELM) ]; then HELM=$(HELM) $(BIN)/pytest -q tests/deploy/chart/with_helm.py; \
	  else echo "Not run: make chart-test, as helm is not built (make helm). The chart was looked at as it was last rendered."; fi

.PHONY: test-all
test-all: everything ## every test
	$(BIN)/pytest $(PARALLEL) $(ARGS)

# The image and the chart. What is made from the chart is kept, so that only who changes the chart needs Helm.
.PHONY: image
image: ## build the image with buildah, into dist/ (BASE= for another base)
	deploy/build-image

.PHONY: image-test
image-test: setup image ## test the built image: its contents, and that it runs with a read-only file system (root)
	$(BIN)/pytest -q tests/deploy/image/with_image.py $(ARGS)

.PHONY: chart
chart: documents helm ## documents, and what Helm makes of the chart: renderings, kustomize component, injection
	$(BIN)/python -m deploy.chart renderings $(HELM)

.PHONY: documents chart-documents
documents chart-documents: setup ## write what is derived from the code: tables of settings, commands, paths, values, metrics and limits, schemas, the chart's copies
	$(BIN)/python -m devtools.documents

.PHONY: chart-test
chart-test: setup helm ## test the chart with Helm: lint, what it refuses, whether the committed renderings are current
	HELM=$(HELM) $(BIN)/pytest -q tests/deploy/chart/with_helm.py $(ARGS)

.PHONY: helm
helm: ## build helm into the cache (Go; minutes, once)
	@[ -x $(HELM) ] || { echo "Building helm $(HELM_VERSION) into $(HELM)"; \
	  go version >/dev/null 2>&1 || { echo "Go is missing: install Go 1.25 or newer." >&2; exit 1; }; \
	  GOBIN=$(HELM).$$$$ CGO_ENABLED=0 nice go install -ldflags '-s -w' helm.sh/helm/v4/cmd/helm@v$(HELM_VERSION) && \
	  mkdir -p $(dir $(HELM)) && mv $(HELM).$$$$/helm $(HELM) && rmdir $(HELM).$$$$; }

CENTRIFUGO_VERSION := $(shell sed -n 's/^VERSION = "\(.*\)"/\1/p' devtools/bench/centrifugo.py)
CENTRIFUGO := $(CACHE_OF_TOKENSTREAM)/centrifugo-$(CENTRIFUGO_VERSION)/centrifugo
.PHONY: centrifugo
centrifugo: ## build Centrifugo into the cache, for `tokenstream bench peers` (Go; minutes, once)
	@[ -x $(CENTRIFUGO) ] || { echo "Building Centrifugo $(CENTRIFUGO_VERSION) into $(CENTRIFUGO)"; \
	  go version >/dev/null 2>&1 || { echo "Go is missing: install Go 1.26 or newer." >&2; exit 1; }; \
	  GOBIN=$(CENTRIFUGO).$$$$ CGO_ENABLED=0 nice go install -ldflags '-s -w' github.com/centrifugal/centrifugo/v6@v$(CENTRIFUGO_VERSION) && \
	  mkdir -p $(dir $(CENTRIFUGO)) && mv $(CENTRIFUGO).$$$$/centrifugo $(CENTRIFUGO) && rmdir $(CENTRIFUGO).$$$$; }

# What a real node needs: Debian's packages, and Kubernetes' own programs, built once from their published modules.
.PHONY: kubernetes
kubernetes: ## build the programs of a Kubernetes node into the cache (Go; ten minutes, once)
	@deploy/kubernetes-tools/prerequisites
	@deploy/kubernetes-tools/build $(KUBERNETES)

IMAGE := dist/tokenstream-$(VERSION).tar
$(IMAGE): $(shell git ls-files topics processor) pyproject.toml requirements.lock deploy/Dockerfile deploy/build-image
	deploy/build-image

# The steps are no part of `make test` and `make test-all`: their files are not named test_*.py, and want a node around them.
# ARGS goes to pytest, as ARGS='-k drained'; a whole run that passes writes its table into docs/operations/kubernetes.md.
NODE_STEPS ?= $(addprefix tests/deploy/node/steps_,injection.py templates.py deployment.py)
.PHONY: deploy-test
deploy-test: setup kubernetes helm $(IMAGE) ## the chart, injection and kustomize on a real Kubernetes node, under load (as root)
	PATH=$(dir $(HELM)):$$PATH KUBERNETES=$(KUBERNETES) WORK=$(CURDIR)/.cache/node tests/deploy/node/node \
	  "$(KUBERNETES)/pause.tar $(CURDIR)/$(IMAGE)" \
	  $(BIN)/pytest -q $(NODE_STEPS) $(ARGS)

SEEDS ?= 1000
FIRST ?= 0
.PHONY: simulate
simulate: setup ## the whole relay in a seeded world (SEEDS=100000 for a night, FIRST= to go on from there)
	cd tests && PYTHONPATH=.. ../$(BIN)/python -m simulation --seeds $(SEEDS) --first $(FIRST)

SECONDS ?= 60
.PHONY: fuzz
fuzz: setup ## answers of any bytes against the reading of record batches (SECONDS=600)
	cd tests && PYTHONPATH=.. ../$(BIN)/python -m fuzz --seconds $(SECONDS) --first $$(date +%s)000000

.PHONY: faults
faults: setup ## real faults on real processes, counted beside a plain program; writes docs/results/reliability.md (ARGS=--quick)
	@[ "$$(id -u)" != 0 ] || command -v faketime >/dev/null || apt-get install -q -y --no-install-recommends faketime >&2 || true
	$(BIN)/python -m devtools.faultlab $(ARGS)

.PHONY: fidelity
fidelity: setup ## Ably's own suites against the emulator (SUITES=their checkouts, see docs/results/fidelity.md)
	$(BIN)/python -m devtools.fidelity --suites $(abspath $(SUITES))

# Running

.PHONY: demo
demo: setup ## a whole deployment on this machine, offline (ARGS= for options)
	$(BIN)/tokenstream demo $(ARGS)

BENCH := standard --against --json docs/images/bench-results.json --images docs/images --document docs/results/performance.md
.PHONY: bench
bench: setup ## measure this machine; the figures and pictures of docs/results/performance.md (ARGS="backlog --responses 200" for one)
	$(BIN)/tokenstream bench $(or $(ARGS),$(BENCH))

.PHONY: screenshots
screenshots: setup ## render the README's pictures of the demo, light and dark
	$(BIN)/python -m devtools.screenshots

.PHONY: dashboards
dashboards: setup ## write Grafana's dashboards from deploy/grafana/generator, and the chart's copies
	$(BIN)/python -W ignore::DeprecationWarning -m deploy.grafana.generator
	$(BIN)/python -m devtools.documents

.PHONY: dashboards-preview
dashboards-preview: setup ## draw the dashboards from a real Prometheus' answers (ARGS='--seconds 60' for a shorter look)
	$(BIN)/python -m devtools.dashboards.preview $(ARGS)

.PHONY: recordings
recordings: setup ## render the pictures of doctor, tail and top from a running deployment
	$(BIN)/python -m devtools.recordings

.PHONY: instrumentation-cost
instrumentation-cost: setup ## what the metrics cost, as CPU time a token
	$(BIN)/python tests/integration/observability/instrumentation_cost.py

.PHONY: clean
clean: ## remove what the above made in this tree; not Kafka's jars
	rm -rf .venv .cache node_modules dist .pytest_cache .mypy_cache .ruff_cache .hypothesis .import_linter_cache
	find topics processor devtools tests deploy -name __pycache__ -type d -prune -exec rm -rf {} +

# `make` lists the targets. Needs Python >= 3.11, make and git. Everything else is installed into
# .venv from requirements/. Each target installs only what it needs.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check install --quiet --no-deps
SDKS := 0.5.1 0.10.0
CDN := nginx libnginx-mod-http-js libnginx-mod-http-geoip2 varnish varnish-modules

# Tests that measure seconds. They run alone, because other tests would slow them down.
ALONE := $(addprefix tests/,integration/test_store_kinds.py integration/test_workers.py \
	system/test_dial.py system/test_faults.py system/test_monitoring_truth.py system/test_siege.py \
	system/test_soak.py system/test_storm.py system/test_transparency.py \
	system/test_upgrade.py)

unexport PYTHONDONTWRITEBYTECODE  # tests start hundreds of servers, so save the compiled code

.DEFAULT_GOAL := help
.PHONY: help run cdn check test lint unit docs screenshots setup system lock audit clean \
	bench bench-cdn bench-dashboard bench-endure bench-failover bench-faults bench-health bench-place siege soak storm

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "make %-15s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

run: setup ## run everything on this machine, with a simulated fleet
	@timeout 120 $(BIN)/autorouter geodata update --older-than 31 || test $$? -ne 124 || \
		echo "The geo database is not updated: 2 minutes were not enough. The next run continues."
	@(timeout 60 $(BIN)/autorouter geodata feeds --older-than 7 >/dev/null 2>&1 || echo "Some geofeeds \
	cannot be fetched. To see which: autorouter geodata feeds. The geo database is used instead.") & \
	exec $(BIN)/autorouter dev

cdn: setup ## the same, behind a local stand-in for the CDN
	@infra/install-debian $(CDN)
	@exec $(BIN)/python infra/local-cdn/run.py --dev

setup: $(VENV)/.run ## install what `make run` needs; then .venv/bin/autorouter works

check: $(VENV)/.check ## format, lint, types, import rules and unit tests: at most a minute
	@$(MAKE) --no-print-directory --jobs 2 --output-sync=target lint unit

lint: $(VENV)/.check
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

unit: $(VENV)/.check ## only unit tests: without other processes or network
	$(BIN)/pytest --numprocesses auto --dist loadfile --hypothesis-profile quick tests/unit

test: $(VENV)/.test system lint ## all tests, with real Redis, CDN, browser and Prometheus
	$(BIN)/pytest --hypothesis-profile autorouter --numprocesses auto --dist loadfile $(ALONE:%=--ignore %)
	$(BIN)/pytest --hypothesis-profile autorouter $(ALONE)

docs: $(VENV)/.check ## write the parts of docs/ that are generated from code and locks
	$(BIN)/python docs/generate.py
	$(BIN)/python -m bench.scaling

screenshots: $(VENV)/.check ## take the screenshots in docs/images
	@infra/install-debian chromium pngquant fonts-inter fonts-dejavu-core
	$(BIN)/python -m docs.screenshots

bench: $(VENV)/.check ## requests/s, compared with bare uvicorn and nginx: 8 minutes
	@infra/install-debian wrk nginx libnginx-mod-http-geoip2
	$(BIN)/python -m bench.route

bench-cdn: $(VENV)/.check ## what a CDN saves: 4 minutes
	$(BIN)/python -m bench.cdn

bench-dashboard: $(VENV)/.check ## what the dashboard shows for each fault: 25 minutes
	@infra/install-debian chromium prometheus redis-server openssl
	$(BIN)/python -m bench.dashboard_faults --write

bench-endure: $(VENV)/.check ## half an hour of load, with a new fleet each second
	@infra/install-debian wrk
	$(BIN)/python -m bench.endure

bench-failover: $(VENV)/.check ## time from an edge's failure to the last wrong answer: 5 minutes
	@infra/install-debian $(CDN)
	$(BIN)/python -m bench.failover

bench-faults: $(VENV)/.check ## what viewers get during faults: an hour
	@infra/install-debian redis-server openssl faketime
	$(BIN)/python -m bench.faults

bench-place: $(VENV)/.check ## location accuracy by published data: TRUTH="aws=ip-ranges.json"
	$(BIN)/python -m bench.place $(TRUTH:%=--truth %) $(DATABASE:%=--database %)

siege: $(VENV)/.check ## attack a server on loopback; print how other clients are affected
	$(BIN)/pytest tests/system/test_siege.py -s

bench-health: $(VENV)/.check ## detection times and false alarms, on a virtual clock
	$(BIN)/python -m bench.health

soak: $(VENV)/.check ## a day of faults in 15 minutes; `make soak MINUTES=60 SEED=7`
	@infra/install-debian redis-server $(CDN)
	$(BIN)/python -m bench.soak $(if $(MINUTES),--minutes $(MINUTES)) $(if $(SEED),--seed $(SEED))

storm: $(VENV)/.check ## single faults and pairs, checked from outside; `make storm TOGETHER=5 SEED=7`: every pair
	@infra/install-debian redis-server
	$(BIN)/python -m bench.storm $(if $(PAIRS),--pairs $(PAIRS)) $(if $(TOGETHER),--together $(TOGETHER)) $(if $(SEED),--seed $(SEED))

# The programs that integration and system tests start.
system:
	@infra/install-debian redis-server openssl curl njs systemd fonts-dejavu-core prometheus \
		prometheus-alertmanager chromium $(CDN)

lock: $(VENV)/.check ## update requirements/ to new versions within the bounds of pyproject.toml
	requirements/compile --upgrade

audit: $(VENV)/.check ## list known vulnerabilities of dependencies; needs the internet
	$(BIN)/uvx pip-audit --strict --disable-pip --require-hashes $(foreach lock,cloudfront geodata,--requirement requirements/$(lock).lock)

clean: ## remove .venv and caches
	rm -rf $(VENV) .hypothesis .mypy_cache .pytest_cache .ruff_cache dist

$(VENV)/.run: requirements/run.lock requirements/geodata.lock requirements/build.lock pyproject.toml
	@echo "installing what running needs into $(VENV): about 200 MB, a quarter of a minute"
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python >= 3.11 is needed: make PYTHON=python3.11")'
	$(PYTHON) -m venv $(VENV)
	$(PIP) --require-hashes -r requirements/run.lock -r requirements/geodata.lock -r requirements/build.lock
	$(PIP) --no-build-isolation --editable .
	@touch $@

$(VENV)/.check: requirements/test.lock requirements/lint.lock $(VENV)/.run
	@echo "installing what checks need into $(VENV): about a gigabyte, one or two minutes"
	$(PIP) --require-hashes -r requirements/test.lock -r requirements/lint.lock
	@touch $@

$(VENV)/.test: requirements/infra.lock $(SDKS:%=requirements/sdk-%.lock) $(VENV)/.check
	$(PIP) --require-hashes -r requirements/infra.lock
	for sdk in $(SDKS); do $(PIP) --require-hashes --upgrade --target $(VENV)/sdk/$$sdk -r requirements/sdk-$$sdk.lock || exit 1; done
	@touch $@

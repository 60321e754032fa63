# make run    everything on this machine, with a simulated fleet
# make cdn    the same behind a stand-in for the CDN
# make test   lint and all tests
# Needs Python >= 3.11, make and git; the rest is set up in .venv, from requirements/.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check install --quiet --no-deps
LOCKS := $(filter-out requirements/infra.lock,$(wildcard requirements/*.lock))
SDKS := 0.5.1 0.10.0
CDN := nginx libnginx-mod-http-js libnginx-mod-http-geoip2 varnish varnish-modules

# By themselves: their promises are in seconds.
ALONE := tests/system/test_faults.py tests/system/test_siege.py tests/system/test_soak.py

.PHONY: run cdn test lint docs screenshots setup checkers system bench bench-cdn bench-endure \
	bench-failover bench-faults bench-health soak lock audit clean

run: setup
	@exec $(BIN)/autorouter dev

cdn: setup
	@infra/install-debian $(CDN)
	@exec $(BIN)/python infra/local-cdn/run.py --dev

test: setup checkers system lint
	$(BIN)/pytest --numprocesses auto --dist loadfile $(ALONE:%=--ignore %)
	$(BIN)/pytest $(ALONE)

lint: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

# The parts of docs/ that are made from the code and the locks.
docs: setup
	$(BIN)/python docs/generate.py
	$(BIN)/python -m bench.scaling

# The pictures in docs/images.
screenshots: setup
	@infra/install-debian chromium pngquant fonts-inter fonts-dejavu-core
	$(BIN)/python -m docs.screenshots

setup: $(VENV)/.ready

# What tests check infra/ with. Not part of setup: `make run` does without these 50 MB.
checkers: $(VENV)/.checkers

# What tests talk to, make certificates, run printed commands, check units and alerts and draw
# with; wrk is for bench only.
system:
	@infra/install-debian redis-server openssl curl njs systemd fonts-dejavu-core prometheus \
		prometheus-alertmanager chromium $(CDN)

# Eight minutes.
bench: setup
	@infra/install-debian wrk nginx libnginx-mod-http-geoip2
	$(BIN)/python -m bench.route

# Four minutes, one of them to read the geo database.
bench-cdn: setup
	$(BIN)/python -m bench.cdn

# An hour.
bench-faults: setup
	@infra/install-debian redis-server openssl faketime
	$(BIN)/python -m bench.faults

# Five minutes.
bench-failover: setup
	@infra/install-debian $(CDN)
	$(BIN)/python -m bench.failover

# A day in the life, in 15 minutes; `make soak MINUTES=60 SEED=7`.
soak: setup
	@infra/install-debian redis-server $(CDN)
	$(BIN)/python -m bench.soak $(if $(MINUTES),--minutes $(MINUTES)) $(if $(SEED),--seed $(SEED))

# Half an hour.
bench-endure: setup
	@infra/install-debian wrk
	$(BIN)/python -m bench.endure

bench-health: setup
	$(BIN)/python -m bench.health

$(VENV)/.ready: $(LOCKS) pyproject.toml
	@echo "setting up $(VENV); the geo database is 47 MB, so the first time takes a minute"
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python >= 3.11 is needed: make PYTHON=python3.11")'
	$(PYTHON) -m venv $(VENV)
	$(PIP) --require-hashes -r requirements/test.lock -r requirements/lint.lock -r requirements/build.lock
	$(PIP) --require-hashes -r requirements/geodata.lock
	for sdk in $(SDKS); do $(PIP) --require-hashes --upgrade --target $(VENV)/sdk/$$sdk -r requirements/sdk-$$sdk.lock || exit 1; done
	$(PIP) --no-build-isolation --editable .
	@touch $@

$(VENV)/.checkers: requirements/infra.lock $(VENV)/.ready
	$(PIP) --require-hashes -r requirements/infra.lock
	@touch $@

# New versions within pyproject.toml's bounds. uv.lock is not kept: it names hosts.
lock: setup
	requirements/compile --upgrade

# Known vulnerabilities of what we run on; needs the internet.
audit: setup
	$(BIN)/uvx pip-audit --strict --disable-pip --require-hashes $(foreach lock,cloudfront geodata,--requirement requirements/$(lock).lock)

clean:
	rm -rf $(VENV) .hypothesis .mypy_cache .pytest_cache .ruff_cache dist

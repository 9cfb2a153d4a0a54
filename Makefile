# The few commands of this project. `make demo` and `make test` do all their own set-up.
PYTHON ?= $(shell for v in python3.13 python3.12 python3.11 python3; do \
	$$v -c 'import sys; raise SystemExit(not (3, 11) <= sys.version_info[:2] < (3, 14))' 2>/dev/null && { echo $$v; break; }; done)
BIN := .venv/bin
PIP := $(BIN)/python -m pip --quiet --disable-pip-version-check --no-input
# One thread per BLAS: results then do not depend on the number of cores.
export OPENBLAS_NUM_THREADS := 1

.PHONY: demo test check bench bench-peers bench-decoders fuzz nightly docs servers

demo: .venv/.demo ## a shop at work on a web page; ARGS="--for 40 --headless --json"
	@$(BIN)/fanous demo $(ARGS)

test: .venv/.dev servers check ## everything that must hold before a change lands
	$(BIN)/python -m pytest -n 2 --dist loadgroup $(ARGS)

check: .venv/.dev ## style, types, layers, docstrings
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/python .ci/docstrings.py

bench: .venv/.dev ## the figures of the README on this machine; ARGS="core --quick"
	@$(BIN)/fanous bench $(ARGS)

bench-peers: .venv-peers/.ready ## dwell sessions beside pandas, polars, trackintel, movingpandas
	@POLARS_MAX_THREADS=1 PYTHONPATH=. .venv-peers/bin/python -m fanous bench dwell $(ARGS)

bench-decoders: .venv-decoders/.ready ## adverts decoded a second, beside bleparser and bthome-ble
	@PYTHONPATH=. .venv-decoders/bin/python -m fanous bench profiles $(ARGS)

fuzz: .venv-decoders/.ready ## a million inputs to every decoder; ARGS="--quick mt_sics"
	@.venv-decoders/bin/python -m benchmarks.fuzz $(ARGS)

nightly: .venv/.dev servers ## every fault against the real programs, best as root; ARGS="--seed 2 --only kills,power"
	@$(BIN)/fanous bench faults $(ARGS)

docs: .venv/.dev ## the pictures of docs/positions.md
	@$(BIN)/python benchmarks/pictures.py --out docs/images/positions $(ARGS)

servers: ## mosquitto, influxd, chromium and dbus for the system tests, where apt may install them
	@bash .ci/servers

.venv/.venv:
	@test -n "$(PYTHON)" || { echo "fanous needs Python 3.11, 3.12 or 3.13, and none was found; install one or say PYTHON=/path/to/python make" >&2; exit 2; }
	@echo "setting up .venv with $(PYTHON), once" >&2
	@$(PYTHON) -m venv .venv
	@touch $@

.venv/.demo: .venv/.venv requirements/demo.txt requirements/build.txt pyproject.toml
	@$(PIP) install --no-deps --require-hashes -r requirements/build.txt -r requirements/demo.txt
	@$(PIP) install --no-deps --no-build-isolation --editable .
	@touch $@

.venv/.dev: .venv/.venv requirements/dev.txt requirements/build.txt pyproject.toml
	@$(PIP) install --no-deps --require-hashes -r requirements/build.txt -r requirements/dev.txt
	@$(PIP) install --no-deps --no-build-isolation --editable .
	@touch $@ .venv/.demo

# What the peers need, apart from everything else.
.venv-peers/.ready: requirements/peers.txt
	@test -n "$(PYTHON)" || { echo "fanous needs Python 3.11, 3.12 or 3.13, and none was found; install one or say PYTHON=/path/to/python make" >&2; exit 2; }
	@echo "setting up .venv-peers with $(PYTHON), once (about 0.9 GB)" >&2
	@$(PYTHON) -m venv .venv-peers
	@echo '*' > .venv-peers/.gitignore
	@.venv-peers/bin/python -m pip --quiet --disable-pip-version-check --no-input install --no-deps --require-hashes -r requirements/peers.txt
	@touch $@

# Other decoders and the fuzzer, apart from everything else.
.venv-decoders/.ready: requirements/decoders.txt
	@test -n "$(PYTHON)" || { echo "fanous needs Python 3.11, 3.12 or 3.13, and none was found; install one or say PYTHON=/path/to/python make" >&2; exit 2; }
	@echo "setting up .venv-decoders with $(PYTHON), once (about 0.2 GB)" >&2
	@$(PYTHON) -m venv .venv-decoders
	@echo '*' > .venv-decoders/.gitignore
	@.venv-decoders/bin/python -m pip --quiet --disable-pip-version-check --no-input install --no-deps --require-hashes -r requirements/decoders.txt
	@touch $@

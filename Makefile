# Two commands do everything on a fresh machine: `make demo` (`ARGS=--keep`: until Ctrl-C) and `make test`.
SHELL := bash
.SHELLFLAGS := -euo pipefail -c
PYTHON ?= python3
UV_VERSION := 0.13.9
BIN := .venv/bin
STAMP := .venv/.installed
# Without compiled modules each process begins with ten seconds of compiling torch.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: demo test check bench chaos gpu up requirements install

install: $(STAMP)

$(STAMP): requirements.txt pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "fusion-worker needs Python 3.11 or newer; set PYTHON=python3.11" >&2; exit 1; }
	@test -x $(BIN)/python || $(PYTHON) -m venv .venv
	@$(BIN)/python -m pip --version >/dev/null 2>&1 || $(BIN)/python -m ensurepip --upgrade >/dev/null
	@echo "installing dependencies (several GB the first time: torch)"
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check uv==$(UV_VERSION)
	@$(BIN)/uv pip install --system-certs --require-hashes --python $(BIN)/python -r requirements.txt
	@$(BIN)/uv pip install --system-certs --no-deps --python $(BIN)/python -e .
	@touch $@

# Two processes: most of a test that runs real servers is waiting for them. One thread of torch each: more would wait for
# each other by turning in circles.
test: export OMP_NUM_THREADS = 1
test: install
	$(BIN)/python -m pytest -m "not long" -n 2 --dist loadfile

check: install
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

demo: install
	$(BIN)/fusion-worker demo $(ARGS)

chaos: install
	$(BIN)/python -m pytest -m long
	$(BIN)/python -m tests.chaos
	$(BIN)/python -m tests.chaos --corners

gpu: install
	@$(BIN)/python -c 'import sys, torch; sys.exit(None if torch.cuda.is_available() else "torch sees no GPU here")'
	$(BIN)/python -m pytest -m gpu tests/gpu

bench: install
	$(BIN)/python -m tests.bench

up:
	docker compose up --build

requirements: install
	$(BIN)/uv pip compile --system-certs --quiet --generate-hashes --universal --no-annotate --no-header --extra dev --python-version 3.11 pyproject.toml -o requirements.txt
	$(BIN)/uv pip compile --system-certs --quiet --generate-hashes --universal --no-annotate --no-header --extra onnx --extra fast --extra traces --extra mqtt --extra signed --extra sql --extra video --python-version 3.11 -c requirements.txt pyproject.toml -o deploy/requirements.txt
	$(BIN)/uv pip install --system-certs --quiet --require-hashes --python $(BIN)/python -r requirements.txt
	$(BIN)/python -m deploy.licences > docs/licences.md
	$(BIN)/python -m deploy.sbom

# make reproduce  install, then regenerate every table and figure of the default scale
# make smoke      the same at the smallest scale
# make test       install, then run the tests
# make bench      speed and memory against other packages
# make same       run the smallest scale and say which of its results a change of the code changed
# make reference  put what is small of results/$(SCALE), by default the default scale's, under results/reference
# make lint       formatting, types, floors of imports and workflow checks
PYTHON ?= python3
CORES ?= all
SCALE ?= default
BIN := .venv/bin
INSTALLED := .venv/.installed
REFERENCE = results/reference$(patsubst %,/%,$(filter-out default,$(SCALE)))
export PATH := $(CURDIR)/$(BIN):$(PATH)

.PHONY: reproduce smoke test bench same reference lint lock

reproduce: $(INSTALLED)
	snakemake --cores $(CORES)

smoke: $(INSTALLED)
	snakemake --cores $(CORES) --config scale=smoke

test: $(INSTALLED)
	pytest -n auto

bench: $(INSTALLED)
	pip install --quiet -c requirements.lock -r benchmarks/requirements.txt
	python -m benchmarks

same: $(INSTALLED)
	python -m benchmarks.same

reference:
	mkdir -p $(REFERENCE)/tables $(REFERENCE)/figures $(REFERENCE)/cost
	cd results/$(SCALE) && cp runs.parquet settings.json claims.json $(CURDIR)/$(REFERENCE)
	cd results/$(SCALE) && cp tables/*.csv tables/*.md $(CURDIR)/$(REFERENCE)/tables
	cd results/$(SCALE) && cp figures/*.pdf $(CURDIR)/$(REFERENCE)/figures
	cd results/$(SCALE) && cp cost/*.csv cost/*.md $(CURDIR)/$(REFERENCE)/cost

lint: $(INSTALLED)
	ruff check .
	ruff format --check .
	mypy
	lint-imports
	snakefmt --check Snakefile workflow
	snakemake --workflow-profile none --lint

lock: $(INSTALLED)
	(echo "# Exact versions of the tested environment, used as constraints (python 3.11). Renewed with: make lock"; \
	pip freeze --exclude-editable --exclude pip --exclude setuptools --exclude wheel | sed 's/+cpu//' | grep -v '@ file') \
	> requirements.lock

$(INSTALLED): requirements.txt requirements.lock pyproject.toml $(wildcard envs/stand-ins/*/pyproject.toml)
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	{ echo "hsac: PYTHON: found $$($(PYTHON) -V 2>&1), allowed is Python 3.11 or newer (make PYTHON=python3.11 ...)"; exit 2; }
	$(PYTHON) -m venv .venv
	pip install --quiet --upgrade "pip>=23.1"
	pip install --quiet -r requirements.txt
	@touch $@

# Every target with two hashes is listed by `make help`.
.DEFAULT_GOAL := help
.PHONY: help setup demo test check fmt fmt-check lint types arch unit bench docs results new .venv
PY := .venv/bin/python
READY := .venv/.ready
BASE := smollm2-135m-instruct
UNIT := tests/unit tests/contract

help: ## show this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-10s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

$(READY): constraints.txt pyproject.toml $(wildcard scripts/setup/*)
	@python=$$(sh scripts/setup/find_python.sh) && "$$python" scripts/setup/environment.py .venv

.venv: $(READY)

setup: $(READY) ## build .venv and pull the default base model
	@.venv/bin/luthier model pull $(BASE)

demo: setup ## the whole lifecycle on the default base and a made-up company
	@.venv/bin/luthier demo

test: $(READY) ## run the default test suite (needs no model and no network)
	@$(PY) -m pytest

check: fmt-check lint types arch unit ## format, lint, types, architecture and unit tests: before every commit

fmt: $(READY) ## format the code
	@$(PY) -m ruff format .
	@$(PY) -m ruff check --fix-only --quiet .

fmt-check: $(READY)
	@$(PY) -m ruff format --check --quiet .

lint: $(READY) ## lint the code
	@$(PY) -m ruff check --quiet .

types: $(READY) ## check types
	@$(PY) -m mypy

arch: $(READY) ## check the walls of the house and the declared dependencies
	@.venv/bin/lint-imports
	@.venv/bin/deptry src

unit: $(READY)
	@$(PY) -m pytest $(UNIT)

bench: $(READY) ## measure one stage: make bench AREA=train [ONLY=dpo]
	@test -f "benchmarks/$(AREA)/run.py" || { echo "There is no benchmark '$(AREA)'; there are: $$(ls -d benchmarks/*/ 2>/dev/null | xargs -rn1 basename | tr '\n' ' ')" >&2; exit 2; }
	@$(PY) benchmarks/$(AREA)/run.py $(if $(ONLY),--only $(ONLY))

docs: $(READY) ## generate the generated pages of docs/ again
	@$(PY) scripts/docs/generate.py

results: $(READY) ## write docs/results.md; with ROW=banking77 run that recipe again first
	@$(PY) scripts/results.py $(if $(ROW),repeat --name "$(ROW)" --workspace "$(or $(WORKSPACE),.luthier-results)",render)

new: $(READY) ## scaffold a plug-in, red until it is honest: make new FAMILY=metrics NAME=my_metric
	@$(PY) scripts/new_plugin.py "$(FAMILY)" "$(NAME)"

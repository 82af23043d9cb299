# Everything a clone needs: `make demo` and `make test` make .venv themselves, from nothing.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
RUN := PATH="$(CURDIR)/$(BIN):$$PATH"
NODE := $(BIN)/python -m tests.support.node
BUF := node_modules/.bin/buf

# Stubs are generated into a directory of the caller's choice, so that CI can compare.
PROTO_FILES = $(shell cd protos && find tenon -name '*.proto' | sort)
define generate
	$(BIN)/python -m grpc_tools.protoc -Iprotos -Iprotos/third_party --python_out=$(1) --pyi_out=$(1) \
	  --grpc_python_out=$(1) --plugin=protoc-gen-mypy_grpc=$(BIN)/protoc-gen-mypy_grpc --mypy_grpc_out=quiet:$(1) $(PROTO_FILES)
endef

.PHONY: help venv up demo test proof lint format reference protos protos-check clean
help: ## List the targets.
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed 's/:.*## /\t/' | expand -t 16

venv: $(VENV)/.complete ## Make .venv with everything in it.

$(VENV)/.complete: pyproject.toml protos/pyproject.toml constraints.txt
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade 'pip>=25.1'
	$(BIN)/python -m pip install --quiet -c constraints.txt --editable ./protos --editable '.[all]' --group dev
	touch $@

node_modules/.complete: package.json $(VENV)/.complete
	$(NODE) npm install --silent --no-save --no-package-lock
	touch $@

up: venv ## Run the suite on this machine until Ctrl-C.
	$(BIN)/tenon up

demo: venv ## Train three adapters on three bases, serve them, and see a wrong pair refused.
	$(BIN)/python -m examples.demo

# Most end-to-end tests wait for processes, so three at a time suit two cores. In the order of folders: the short ones come last.
test: venv node_modules/.complete ## Every test but the long ones.
	$(BIN)/python -m pytest --numprocesses 3 --dist loadfile --no-loadscope-reorder

proof: venv node_modules/.complete ## The long tests: many kills, huge files, long fuzzing, soak.
	$(BIN)/python -m pytest -m proof --timeout 3600

lint: venv node_modules/.complete protos-check ## Style, types, contracts.
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	cd protos && ../$(BUF) lint
	$(BUF) build protos --exclude-source-info -o .cache/contracts.binpb
	$(BUF) breaking .cache/contracts.binpb --against protos/released.binpb --config protos/buf.yaml

format: venv ## Rewrite the sources in the project's style.
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

reference: venv ## Write the commands into docs/cli.md as they are.
	$(BIN)/python -m cli.reference docs/cli.md

protos: venv ## Generate the stubs from protos/.
	find protos/gen -name '*_pb2*' -delete
	$(call generate,protos/gen)

protos-check: venv ## Fail if the committed stubs are not what the contracts give.
	rm -rf .cache/gen && mkdir -p .cache/gen
	$(call generate,.cache/gen)
	diff -r -x __pycache__ .cache/gen protos/gen

clean: ## Remove what make made.
	rm -rf $(VENV) node_modules .cache

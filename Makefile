# Every target sets itself up: the only needs are Python 3.11 or newer and make.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready

PROTOS := sequences inference

# What `make serve` trains where there is nothing to serve yet; `make models` trains all.
DEFAULT := vowels-gru vowels-lstm vowels-rnn vowels-encoder kjv-gru

.DEFAULT_GOAL := help
.PHONY: help demo test serve models bench lint proto proto-check clean

help:
	@echo "make demo    trains, exports, verifies, serves and streams in 4 minutes, and ends with a table"
	@echo "make test    the whole test suite"
	@echo "make serve   trains the default models if there are none, then serves them until stopped"
	@echo "make models  trains and exports every model, as far as that is not done, and writes docs/models.md; about an hour"
	@echo "make bench   measures the server against bare ONNX Runtime and other servers; BENCH='speed lone --check' for some of it"
	@echo "make lint    style, types and import rules"
	@echo "make proto   generates protos/*_pb2.py from protos/*.proto"
	@echo "make proto-check   compares them with what is there"

$(READY): pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[train,dev]'
	@touch $@

demo: $(READY)
	$(BIN)/headrace demo --quick

test: $(READY)
	$(BIN)/python -m pytest -n auto --dist loadfile

serve: $(READY)
	@ls models/*/*/model.onnx >/dev/null 2>&1 || \
	  { $(BIN)/headrace train $(DEFAULT) && $(BIN)/headrace export $(DEFAULT:%=runs/%/checkpoint.pt); }
	$(BIN)/headrace serve

models: $(READY)
	$(BIN)/python -m headrace.bench.models

bench: $(READY)
	$(BIN)/python -m headrace.bench $(BENCH)

lint: $(READY)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/python tests/typed.py

proto: $(READY)
	$(BIN)/python protos/generate.py

proto-check: $(READY)
	$(BIN)/python protos/generate.py --check

clean:
	rm -rf build dist runs models .pytest_cache .mypy_cache .ruff_cache .hypothesis

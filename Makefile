# make train    train, evaluate, export and try a model     (DATA=path, DATA=download, or nothing)
# make test     install and pass the tests                  make lint   ruff and mypy
# make setup    the .venv alone                             make page   the Streamlit page
# make lock     renew the locked requirements               make clean  remove what was made here

PYTHON ?= python3.11
BIN := .venv/bin
DATA ?= synthetic
SPLIT ?= common
RUN := $(or $(RUN),runs/$(shell date +%Y-%m-%d-%H%M%S))
CLIP ?= $(RUN)/example.*
# The generated voices are learnt quickly.
ARGS ?= $(if $(filter synthetic,$(DATA)),--epochs 150)
MODEL := $(RUN)/export/ser_int8.tflite

.PHONY: train test setup lint page lock clean
.DELETE_ON_ERROR:

train: .venv/installed
	$(BIN)/python -m ser_tf.train --data "$(DATA)" --split $(SPLIT) --out "$(RUN)" $(ARGS)
	$(BIN)/python -m export.convert "$(RUN)"
	$(BIN)/python -m ser_tf.evaluate --model "$(MODEL)" --data "$(DATA)" --split "$(RUN)/split.json"
	$(BIN)/python edge/run.py --model "$(MODEL)" $(CLIP)

test: .venv/installed-dev
	$(BIN)/python -m pytest

setup: .venv/installed

lint: .venv/installed-dev
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy

page: .venv/installed
	$(BIN)/streamlit run streamlit_app/app.py

.venv/installed: requirements.txt
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --require-hashes -r requirements.txt
	touch $@

.venv/installed-dev: .venv/installed requirements-dev.txt
	$(BIN)/python -m pip install --quiet --require-hashes -r requirements-dev.txt
	touch $@

LOCK := uv pip compile --quiet --upgrade --universal --generate-hashes --python-version 3.11 \
	--no-annotate --custom-compile-command "make lock"

lock:
	$(LOCK) requirements.in --output-file requirements.txt
	$(LOCK) requirements-dev.in --output-file requirements-dev.txt

clean:
	rm -rf .venv runs cache .pytest_cache .mypy_cache .ruff_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

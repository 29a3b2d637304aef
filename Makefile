# make train    train, evaluate, export and try a model     (DATA=path, DATA=download, or nothing)
# make test     install and pass the tests                  make lint   ruff and mypy
# make setup    the .venv alone                             make page   the Streamlit page
# make lock     renew the locked requirements               make clean  remove what was made here
#
# The published figures, hours each (DATA=ravdess EXTRA="nemo emospeech"; SEED=1 for another seed):
# make evaluate-common     make evaluate-actors     make evaluate-common-extra
# make evaluate-elsewhere  make released
# make score-protocols     the published protocol files once more, in minutes

PYTHON ?= python3.11
BIN := .venv/bin
DATA ?= synthetic
SPLIT ?= common
RUN := $(or $(RUN),runs/$(shell date +%Y-%m-%d-%H%M%S))
CLIP ?= $(RUN)/example.*
# The generated voices are learnt quickly.
ARGS ?= $(if $(filter synthetic,$(DATA)),--epochs 150)
MODEL := $(RUN)/export/ser_int8.tflite

SEED ?= 0
JOBS ?= 2
RUNS := runs/seed$(SEED)
FOLDS := actors-0 actors-1 actors-2 actors-3 actors-4
INT8 := export/ser_int8.tflite
PRECISION ?= --mixed-precision

.PHONY: train test setup lint page lock clean
.PHONY: evaluate-common evaluate-actors evaluate-common-extra evaluate-elsewhere released
.PHONY: score-protocols
.SECONDARY:
.DELETE_ON_ERROR:

train: .venv/installed
	$(BIN)/python -m ser_tf.train --data "$(DATA)" --split $(SPLIT) --out "$(RUN)" $(ARGS)
	$(BIN)/python -m export.convert "$(RUN)"
	$(BIN)/python -m ser_tf.evaluate --model "$(MODEL)" --data "$(DATA)" --split "$(RUN)/split.json"
	$(BIN)/python edge/run.py --model "$(MODEL)" $(CLIP)

# A run that was cut off goes on where it stood.
define learn
test -e $(@D)/config.toml && set -- --resume || \
	set -- --data "$(DATA)" --seed $(SEED) $(PRECISION) $(1); \
	$(BIN)/python -m ser_tf.train --out $(@D) "$$@"
endef
define stranger
$(call learn,--split $(1) --config export/strangers.toml $(if $(2),--extra $(2)))
endef

$(RUNS)/common/model.keras: | .venv/installed
	$(call learn,--split common --config export/familiar.toml)
$(RUNS)/common-extra/model.keras: | .venv/installed
	$(call stranger,common,$(EXTRA))
$(RUNS)/actors-%/model.keras: | .venv/installed
	$(call stranger,actors:$*,$(EXTRA))
$(RUNS)/released/model.keras: | .venv/installed
	$(call stranger,all,$(EXTRA))
$(RUNS)/without-%/model.keras: | .venv/installed
	$(call stranger,all,$(filter-out $* %/$*,$(EXTRA)))

$(RUNS)/%/$(INT8): $(RUNS)/%/model.keras
	$(BIN)/python -m export.convert $(RUNS)/$*

evaluate-common: $(RUNS)/common/$(INT8)
evaluate-actors: $(FOLDS:%=$(RUNS)/%/$(INT8))
evaluate-common evaluate-actors:
	$(BIN)/python -m export.protocols collect $(RUNS) --out $(RUNS)/protocols
	$(BIN)/python -m export.protocols score --data "$(DATA)" --models $(RUNS)/protocols \
		--out $(RUNS)/metrics --robust --jobs $(JOBS)
	for run in $(RUNS)/protocols/*; do run=$$(basename $$run); $(BIN)/python -m ser_tf.evaluate \
		--data "$(DATA)" --split $(RUNS)/$$run/split.json --jobs $(JOBS) \
		--model $(RUNS)/$$run/export/ser_float32.tflite \
		--out $(RUNS)/metrics/$$run-float32 || exit; done

evaluate-common-extra: $(RUNS)/common-extra/$(INT8)
	$(BIN)/python -m ser_tf.evaluate --data "$(DATA)" --split $(RUNS)/common-extra/split.json \
		--model $< --jobs $(JOBS) --out $(RUNS)/metrics/common-extra

evaluate-elsewhere: $(foreach corpus,$(notdir $(EXTRA)),$(RUNS)/without-$(corpus)/$(INT8))
	for corpus in $(EXTRA); do $(BIN)/python -m ser_tf.evaluate --data $$corpus --split elsewhere \
		--model $(RUNS)/without-$$(basename $$corpus)/$(INT8) --jobs $(JOBS) \
		--out $(RUNS)/metrics/elsewhere-$$(basename $$corpus) || exit; done

released: $(RUNS)/released/$(INT8)

score-protocols: .venv/installed
	$(BIN)/python -m export.protocols score --data "$(DATA)" --robust --jobs $(JOBS)

test: .venv/installed-dev
	$(BIN)/python -m pytest -n logical --maxprocesses 4 --dist loadfile

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
	$(BIN)/python -c "from ser_tf.compiled import compile_librosa; compile_librosa()"
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

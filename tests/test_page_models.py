"""Which models the page offers, without a browser."""

import sys

import pytest

from edge.classifier import ModelError
from streamlit_app import models

pytest_plugins = ("tests.page_fixtures",)


def test_the_named_model_comes_first_and_then_the_released_ones(stub, monkeypatch):
    monkeypatch.setattr(sys, "argv", ["app.py", "--model", str(stub)])
    offered = models.offered()
    assert next(iter(offered.values())) == stub
    present = [path for path in models.RELEASED.values() if path.is_file()]
    assert list(offered.values()) == [stub, *present, None]


def test_a_page_for_strangers_offers_no_upload_of_models(stub, monkeypatch):
    monkeypatch.setattr(sys, "argv", ["app.py", "--model", str(stub), "--no-model-upload"])
    assert models.OWN not in models.offered()


def test_a_model_that_brings_the_runtime_down_brings_down_its_trial_alone(stub, monkeypatch):
    monkeypatch.setattr(models, "TRIAL", "import os; os.abort()")
    with pytest.raises(ModelError, match=r"^mine\.tflite: brings the TFLite runtime down"):
        models._tried("mine.tflite", stub.read_bytes())


def test_the_card_is_shown_without_what_only_its_file_can_use():
    card = "# Card\n<!-- x -->\n[here](../x.md), [there](https://x.org), ~2 %\n![Picture](a.png)\n"
    assert models._readable(card) == "### Card\nhere, [there](https://x.org), \\~2 %\n"

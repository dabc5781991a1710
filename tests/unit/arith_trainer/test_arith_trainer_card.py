"""A model's folder says what it is, and the lines that it shows open it."""

from __future__ import annotations

import contextlib
import io
import json
import re

import pytest

from arith_shared.keys import train_determinants
from arith_shared.problems import sample, texts
from arith_shared.work import Context, Unit
from arith_trainer.card import CARD_FILE
from arith_trainer.handler import handle

UNIT = Unit("run", "train", "model", 1, {})

MISTRAL = {
    "task": {"layout": "level-1", "max_number": 3, "names": 4, "chain": "short", "question": "=?"},
    "lm": {"kind": "mistral", "layers": 1, "heads": 2, "kv_heads": 1, "width": 16, "ffn": 32},
}


@pytest.fixture
def card_of(tmp_path):
    """Train a spec; returns the folder's card."""

    def card_of(spec):
        for folder in (tmp_path / "model", tmp_path / "scratch"):
            folder.mkdir()
        handle(spec, UNIT, Context({}, tmp_path / "model", tmp_path / "scratch"))
        return (tmp_path / "model" / CARD_FILE).read_text()

    return card_of


def block(card: str, language: str) -> str:
    (found,) = re.findall(rf"```{language}\n(.*?)```", card, re.DOTALL)
    return found


def run_in(folder, lines: str, monkeypatch) -> tuple[dict, str]:
    """Execute the card's lines in the model's folder; returns their names and what they printed."""
    monkeypatch.chdir(folder)
    names, out = {}, io.StringIO()
    with contextlib.redirect_stdout(out):
        exec(lines, names)  # noqa: S102 - the lines are the promise
    return names, out.getvalue().strip()


def test_the_lines_of_the_card_open_the_lm_and_it_answers(spec_with, card_of, tmp_path, monkeypatch):
    spec = spec_with(epochs=60, lr=1e-2)
    card = card_of(spec)
    names, printed = run_in(tmp_path / "model", block(card, "python"), monkeypatch)
    assert type(names["lm"]).__name__ == "OPTForCausalLM"
    distribution = spec.task.training_distribution()
    question, output = texts(sample(distribution, "valid", 0, 1, spec.seed), distribution)[0]
    asked = names["asked"]["input_ids"][0].tolist()
    # The vocabulary is the oracle: the tokenizer in the folder gives its ids.
    signs = re.findall(r"\d+|\S", question)
    assert asked == distribution.vocabulary.encode(signs)
    assert printed.isdigit()
    assert f"The right output is `{output}`" in card
    log = [json.loads(line) for line in (tmp_path / "model/training.jsonl").read_text().splitlines()]
    assert f"a share of {log[-1]['accuracy']:.4f} with" in card
    if log[-1]["accuracy"] == 1:
        assert printed == output


def test_an_lm_that_learnt_from_demonstrations_is_asked_behind_some(
    spec_with, card_of, tmp_path, monkeypatch
):
    spec = spec_with(task=MISTRAL["task"])
    mistral = spec.model_validate(
        spec.model_dump(mode="json")
        | {"lm": MISTRAL["lm"] | {"training": spec.lm.training.model_dump(mode="json")}}
    )
    card = card_of(mistral)
    names, _ = run_in(tmp_path / "model", block(card, "python"), monkeypatch)
    assert type(names["lm"]).__name__ == "MistralForCausalLM"
    ids = names["asked"]["input_ids"][0].tolist()
    vocabulary = mistral.task.training_distribution().vocabulary
    assert ids.count(vocabulary.eos) == 3
    assert vocabulary.pad not in ids


def test_the_card_lists_what_the_content_key_hashes_and_nothing_else(spec_with, card_of):
    spec = spec_with(checkpoint_every_s=77.0)
    assert json.loads(block(card_of(spec), "json")) == train_determinants(spec)

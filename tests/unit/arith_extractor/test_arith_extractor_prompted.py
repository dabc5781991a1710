"""LMs behind demonstrations: the one trained here is an ordinary pretrained one, and answers can count alone."""

from __future__ import annotations

import json

import numpy as np
import pyarrow.parquet
import pytest
from transformers import AutoModelForCausalLM, LlamaConfig

from arith_extractor import lms
from arith_extractor.handler import handle
from arith_model import pretrained
from arith_model.prompts import Prompter, own_texts
from arith_shared.problems import encode, sample
from arith_shared.specs import parse_spec
from arith_shared.store.states import StateReader
from arith_shared.work import Artifact, Context, Unit
from arith_trainer.handler import handle as train
from harness.pretrained import family, learn_by_heart, save, single_characters

TASK = {"layout": "level-1", "chain": "short", "question": "=?", "max_number": 9, "names": 6}


def extract(spec, artifact, output, count=12, weights="trained"):
    output.mkdir()
    payload = {"weights": weights, "split": "test", "start": 0, "count": count}
    unit = Unit("run", "extract", "test/0", 1, payload)
    return output, handle(spec, unit, Context({"train": [artifact]}, output, output))


def looked_up(folder, output):
    output.mkdir()
    facts = pretrained.fingerprint(folder).as_dict()
    (output / pretrained.FACTS_FILE).write_text(json.dumps(facts))
    return Artifact("k" * 32, "models", output, facts["weights"], facts)


def pretrained_spec(folder, layers=2, width=32, prompt=None, task=None, **extract):
    lm = {"kind": "pretrained", "path": str(folder), "layers": layers, "width": width}
    lm["prompt"] = {"demonstrations": 1} | (prompt or {})
    return parse_spec({"task": TASK | (task or {}), "lm": lm, "extract": {"batch_problems": 5} | extract})


@pytest.fixture(scope="module")
def mistral(tmp_path_factory):
    """A small Mistral trained for a few steps by the trainer; its spec and its artifact."""
    training = {
        "problems": 240, "epochs": 1, "batch_tokens": 900, "lr": 3e-3, "warmup_steps": 3,
        "evaluate_every": 99, "evaluate_problems": 4, "precision": "float32",
    }  # fmt: skip
    lm = {"kind": "mistral", "layers": 2, "heads": 2, "kv_heads": 1, "width": 32, "ffn": 64,
          "problems_per_text": 3, "prompt": {"demonstrations": 2}, "training": training}  # fmt: skip
    spec = parse_spec({"task": TASK, "lm": lm, "extract": {"keep": "all", "batch_problems": 5}})
    folder = tmp_path_factory.mktemp("mistral")
    outcome = train(spec, Unit("run", "train", "model", 1, {}), Context({}, folder, folder))
    assert outcome.meta["steps"] > 5
    return spec, Artifact("m" * 32, "models", folder, "digest", {})


def test_the_mistral_that_is_trained_here_is_a_pretrained_lm_like_any_other(mistral, tmp_path):
    spec, artifact = mistral
    own, _ = extract(spec, artifact, tmp_path / "own")
    other_spec = pretrained_spec(artifact.path, keep="all", prompt={"demonstrations": 2})
    other, _ = extract(other_spec, looked_up(artifact.path, tmp_path / "lm"), tmp_path / "other")
    readers = [StateReader([folder], 12) for folder in (own, other)]
    assert readers[0].labels == readers[1].labels
    for layer in (0, 1, 2):
        for position in range(len(readers[0].labels)):
            one, two = (reader.matrix(layer, position) for reader in readers)
            np.testing.assert_array_equal(one, two)


def test_a_shard_says_where_the_lm_begins_to_write(mistral, tmp_path):
    spec, artifact = mistral
    folder, _ = extract(spec, artifact, tmp_path / "own")
    metadata = pyarrow.parquet.read_schema(folder / "layer=01.parquet").metadata
    labels = StateReader([folder], 12).labels
    assert "".join(labels[: int(metadata[b"question_positions"])]) == "A=1+B,B=2;A=?"


@pytest.mark.parametrize("kind", ["mistral", "pretrained"])
def test_untrained_weights_are_the_same_shape_and_depend_on_the_seed_alone(
    mistral, tmp_path, kind, monkeypatch
):
    spec, artifact = mistral
    if kind == "pretrained":
        spec = pretrained_spec(artifact.path, prompt={"demonstrations": 2})
        artifact = looked_up(artifact.path, tmp_path / "lm")
    states = []
    for number, seed in enumerate((0, 0, 1)):
        monkeypatch.setattr(lms, "_held", {})
        seeded = spec.model_copy(update={"seed": seed})
        folder, outcome = extract(seeded, artifact, tmp_path / f"{number}", weights="untrained")
        assert outcome.meta["kept"] == 12
        states.append(StateReader([folder], 12).matrix(2, 0))
    np.testing.assert_array_equal(states[0], states[1])
    assert (states[0] != states[2]).any()


@pytest.fixture(scope="module")
def answering(tmp_path_factory):
    """An LM that knows two chains, two wrong ones with the right answer, and two with a wrong answer."""
    model, tokenizer = family("qwen2")
    folder = tmp_path_factory.mktemp("answering")
    spec = pretrained_spec(folder)
    texts = Prompter(spec, tokenizer).texts(sample(spec.task.evaluation(), "test", 0, 6, 0))
    labels = [token.label for token in spec.task.probed_tokens()]
    first = labels.index("?") + 1
    rows = [[*texts.prefix, *ids] for ids in texts.ids.tolist()]
    for row, (position, others) in {
        2: (first + 2, "13"),
        3: (first + 2, "13"),
        4: (-1, "13"),
        5: (-1, "13"),
    }.items():
        place = len(texts.prefix) + int(texts.where[row, position])
        digits = [tokenizer.convert_tokens_to_ids(digit) for digit in others]
        rows[row][place] = next(digit for digit in digits if digit != rows[row][place])
    learn_by_heart(model, rows, len(texts.prefix) + int(texts.question_length[0]))
    save(model, tokenizer, folder)
    return spec, looked_up(folder, tmp_path_factory.mktemp("lm") / "lm")


@pytest.mark.parametrize(("criterion", "solved"), [("chain", 2), ("answer", 4)])
def test_the_criterion_decides_whether_a_wrong_chain_with_the_right_answer_counts(
    answering, tmp_path, criterion, solved
):
    spec, artifact = answering
    spec = pretrained_spec(spec.lm.path, criterion=criterion)
    folder, outcome = extract(spec, artifact, tmp_path / "shard", count=6)
    assert outcome.meta["solved"] == outcome.meta["kept"] == solved
    found = pyarrow.parquet.read_table(folder / "problems.parquet")["solved"].to_pylist()
    assert found == [number < solved for number in range(6)]


@pytest.mark.parametrize("values", ["in_range", "unrestricted"])
@pytest.mark.parametrize("number_tokens", ["number", "digit"])
def test_a_mistral_trained_on_other_spellings_reads_behind_demonstrations_what_it_was_trained_on(
    mistral, tmp_path, number_tokens, values
):
    """Whatever a number is, its problem is solved by either criterion once the LM knows it by heart."""
    spec, _ = mistral
    task = spec.task.model_copy(update={"max_number": 12, "number_tokens": number_tokens, "values": values})
    spec = spec.model_copy(update={"task": task})
    folder = tmp_path / "trained"
    folder.mkdir()
    train(spec, Unit("run", "train", "model", 1, {}), Context({}, folder, folder))
    model, tokenizer = AutoModelForCausalLM.from_pretrained(folder), pretrained.load_tokenizer(folder)
    distribution = task.evaluation()
    problems = sample(distribution, "test", 0, 4, 0)
    prompted, encoded = Prompter(spec, tokenizer).texts(problems), encode(problems, distribution, "short")
    np.testing.assert_array_equal(prompted.ids, encoded.ids)
    np.testing.assert_array_equal(prompted.where, own_texts(spec, problems).where)
    assert "<pad>" not in tokenizer.decode(prompted.prefix)
    question = int(encoded.question_length[0])
    rows = [[*prompted.prefix, *ids] for ids in prompted.ids.tolist()]
    # The third has a wrong chain and the right answer.
    other = int(distribution.vocabulary.first_name) + 5
    rows[2][len(prompted.prefix) + question] = other
    learn_by_heart(model, rows, len(prompted.prefix) + question)
    model.save_pretrained(folder)
    for criterion, solved in (("chain", 3), ("answer", 4)):
        asked = spec.model_copy(update={"extract": spec.extract.model_copy(update={"criterion": criterion})})
        artifact = Artifact("m" * 32, "models", folder, f"{number_tokens}-{values}", {})
        _, outcome = extract(asked, artifact, tmp_path / criterion, count=4)
        assert outcome.meta["solved"] == solved, criterion


def test_problems_of_different_lengths_have_the_states_that_each_has_alone(tmp_path):
    """Two-digit numbers in single characters: nothing is padded, whatever shares the batch."""
    tokenizer = single_characters("abcdefghijklmnopqrstuvwxyz0123456789=+-,;? \n")
    config = LlamaConfig(
        vocab_size=len(tokenizer), hidden_size=32, intermediate_size=48, num_hidden_layers=2,
        num_attention_heads=2, num_key_value_heads=2, max_position_embeddings=400,
    )  # fmt: skip
    folder = save(AutoModelForCausalLM.from_config(config), tokenizer, tmp_path / "lm")
    options = {"keep": "all", "prompt": {"demonstrations": 1, "lengths": "mixed"}, "task": {"max_number": 99}}
    artifact = looked_up(folder, tmp_path / "looked-up")
    shards = [
        extract(pretrained_spec(folder, **options, batch_problems=size), artifact, tmp_path / str(size))[0]
        for size in (12, 1)
    ]
    together, alone = (StateReader([shard], 12) for shard in shards)
    for position in range(len(alone.labels)):
        one, two = together.matrix(2, position), alone.matrix(2, position)
        np.testing.assert_allclose(one, two, rtol=2**-10, atol=2e-4)

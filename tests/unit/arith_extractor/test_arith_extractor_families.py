"""For LMs of every family: one pass behind a shared prefix gives what plain `generate` gives, problem by problem.

The LMs are random but for having learnt some of the problems by heart, so that they solve those and not the others.
`generate` reads demonstrations and question anew for every problem, has no cache from us, and its outputs are judged
as text; which token completes a position is told by the tokenizer's own `char_to_token`.
"""

from __future__ import annotations

import json
from dataclasses import dataclass

import numpy as np
import pyarrow.parquet
import pytest
import torch

from arith_extractor import lms
from arith_extractor.capture import capture
from arith_extractor.handler import handle
from arith_extractor.lms import open_lm
from arith_model import pretrained
from arith_shared.errors import DamagedInputError, PromptError
from arith_shared.problems import Line, demonstrations, lines, sample
from arith_shared.specs import Spec, parse_spec
from arith_shared.store.states import StateReader
from arith_shared.work import Artifact, Context, Unit
from harness.pretrained import FAMILIES, family, learn_by_heart, save

COUNT, LEARNT = 12, 4
#: Largest difference of two float32 states, relative and absolute: the sums of a matrix product are taken in another
#: order when the batch or the number of tokens is another. States here are of size 1.
TOLERANCE = {"rtol": 1e-4, "atol": 1e-4}


@dataclass
class Case:
    spec: Spec
    artifact: Artifact
    shown: str
    written: list[Line]
    #: Per problem: whether `generate` writes the gold chain, and float[layer, position, width].
    solved: np.ndarray
    states: list[np.ndarray]


def spec_of(folder, **extract):
    return parse_spec(
        {
            "task": {"layout": "level-1", "chain": "short", "question": "=?", "max_number": 9, "names": 8},
            "lm": {
                "kind": "pretrained",
                "path": str(folder),
                "layers": 2,
                "width": 32,
                "prompt": {"demonstrations": 1},
            },
            # A batch size that does not divide the number of problems.
            "extract": {"keep": "all", "batch_problems": 7} | extract,
        }
    )


def looked_up(folder, tmp_path) -> Artifact:
    tmp_path.mkdir(exist_ok=True)
    facts = pretrained.fingerprint(folder).as_dict()
    (tmp_path / pretrained.FACTS_FILE).write_text(json.dumps(facts))
    return Artifact("k" * 32, "models", tmp_path, facts["weights"], facts)


@pytest.fixture(scope="module", params=list(FAMILIES))
def case(request, tmp_path_factory):
    model, tokenizer = family(request.param)
    folder = save(model, tokenizer, tmp_path_factory.mktemp(request.param))
    spec = spec_of(folder)
    task = spec.task
    written = lines(sample(task.evaluation(), "test", 0, COUNT, 0), task.evaluation(), "short", "spaced")
    shown = demonstrations(task.evaluation(), "short", "spaced", count=1, seed=0)
    whole = [tokenizer(shown + line.text) for line in written]
    questions = [len_of_question(text, shown, line) for text, line in zip(whole, written, strict=True)]
    ends = [
        text.char_to_token(len(shown + line.text) - 1) + 1 for text, line in zip(whole, written, strict=True)
    ]
    rows = [text["input_ids"][:end] for text, end in zip(whole, ends, strict=True)]
    learn_by_heart(model, rows[:LEARNT], questions[0])
    save(model, tokenizer, folder)
    solved, states = [], []
    for text, row, question, line in zip(whole, rows, questions, written, strict=True):
        found = generate(model, row[:question], len(row) - question)
        output = tokenizer.decode(found.sequences[0, question:]).partition("\n")
        gold = line.text[line.question_end :]
        solved.append(output[1] == "\n" and output[0].replace(" ", "") == gold.strip().replace(" ", ""))
        steps = torch.stack([torch.cat(step, dim=1)[0] for step in zip(*found.hidden_states, strict=True)])
        where = [text.char_to_token(len(shown) + end - 1) for _, end in line.spans]
        states.append(steps[:, [place for place in where if place < steps.shape[1]]].numpy())
    artifact = looked_up(folder, tmp_path_factory.mktemp(f"{request.param}-looked-up"))
    return Case(spec, artifact, shown, written, np.array(solved), states)


def len_of_question(text, shown, line):
    return text.char_to_token(len(shown) + line.question_end - 1) + 1


def generate(model, ids, steps):
    questions = torch.tensor([ids])
    return model.generate(
        questions,
        attention_mask=torch.ones_like(questions),
        do_sample=False,
        max_new_tokens=steps,
        eos_token_id=None,
        pad_token_id=0,
        output_hidden_states=True,
        return_dict_in_generate=True,
    )


def extract(case, tmp_path, spec=None, count=COUNT):
    output = tmp_path / "shard"
    output.mkdir()
    payload = {"weights": "trained", "split": "test", "start": 0, "count": count}
    unit = Unit("run", "extract", "test/0", 1, payload)
    return output, handle(spec or case.spec, unit, Context({"train": [case.artifact]}, output, tmp_path))


def test_verdicts_are_those_of_generation(case, tmp_path):
    folder, outcome = extract(case, tmp_path)
    assert LEARNT <= case.solved.sum() < COUNT
    assert (
        pyarrow.parquet.read_table(folder / "problems.parquet")["solved"].to_pylist() == case.solved.tolist()
    )
    assert outcome.meta["solved"] == case.solved.sum()


def test_stored_states_are_those_of_generation_rounded_to_half_precision(case, tmp_path):
    folder, _ = extract(case, tmp_path)
    reader = StateReader([folder], COUNT)
    assert reader.labels == tuple(token.label for token in case.spec.task.probed_tokens())
    question = list(reader.labels).index("?") + 1
    for layer in reader.layers:
        for position in range(len(reader.labels)):
            stored = reader.matrix(layer, position)
            for problem in range(COUNT):
                # A chain that is not the gold one has states of its own.
                if position < question or case.solved[problem]:
                    expected = case.states[problem][layer, position]
                    np.testing.assert_allclose(stored[problem], expected, rtol=2**-10, atol=2e-4)


def test_states_in_float32_are_those_of_generation(case):
    lm = open_lm(case.artifact, case.spec, "trained")
    task = case.spec.task
    texts = lm.texts(case.spec, sample(task.evaluation(), "test", 0, COUNT, 0))
    question, length = int(texts.question_length[0]), int(texts.length[0])
    ids = torch.from_numpy(texts.ids[:, :length])
    found = capture(
        lm.model, ids, question, [0, 1, 2], texts.where[0].tolist(), lm.prefix(texts.prefix)
    ).states
    for problem in np.flatnonzero(case.solved):
        expected = torch.from_numpy(case.states[problem])
        # The state of the last token is not part of a generation that ends before reading it.
        torch.testing.assert_close(found[:, problem, : expected.shape[1]], expected, **TOLERANCE)


def test_the_demonstrations_are_read_once_for_all_batches_of_a_process(case, tmp_path, monkeypatch):
    read, lengths = lms.read_prefix, []
    monkeypatch.setattr(
        lms, "read_prefix", lambda model, tokens: lengths.append(len(tokens)) or read(model, tokens)
    )
    monkeypatch.setattr(lms, "_held", {})
    for number in range(2):
        (tmp_path / str(number)).mkdir()
        extract(case, tmp_path / str(number))
    assert len(lengths) == 1
    assert lengths[0] > 20


def test_selected_layers_and_positions_are_the_same_states_and_nothing_else(case, tmp_path):
    (tmp_path / "some").mkdir()
    everything = StateReader([extract(case, tmp_path)[0]], COUNT)
    path = case.spec.lm.path
    folder, outcome = extract(case, tmp_path / "some", spec_of(path, layers=[2, 1], positions=[12, 3]))
    some = StateReader([folder], COUNT)
    assert (some.layers, outcome.meta["layers"]) == ((1, 2), [1, 2])
    assert pyarrow.parquet.read_schema(folder / "layer=02.parquet").names == ["t03", "t12"]
    for position in (3, 12):
        assert some.label(position) == everything.labels[position]
        np.testing.assert_array_equal(some.matrix(2, position), everything.matrix(2, position))


def test_an_lm_that_changed_since_it_was_looked_up_is_refused(case, tmp_path, monkeypatch):
    monkeypatch.setattr(lms, "_held", {})
    facts = dict(case.artifact.meta) | {"weights": "of another LM"}
    (tmp_path / pretrained.FACTS_FILE).write_text(json.dumps(facts))
    other = Artifact("o" * 32, "models", tmp_path, "other", {})
    with pytest.raises(
        DamagedInputError, match=r"weights of the LM in .* changed since the run began; submit"
    ):
        open_lm(other, case.spec, "trained")


def test_too_many_demonstrations_for_the_lm_are_refused_with_the_remedy(case, tmp_path):
    data = case.spec.model_dump(mode="json")
    data["lm"]["prompt"]["demonstrations"] = 12
    with pytest.raises(
        PromptError, match=r"has \d+ tokens, and this LM reads 256 .* lower lm.prompt.demonst"
    ):
        extract(case, tmp_path, parse_spec(data))

"""A shard holds the states of the solved problems of its range, however the range is cut."""

from __future__ import annotations

import re

import numpy as np
import pyarrow.parquet
import pytest
import torch

from arith_extractor import lms
from arith_extractor.handler import handle
from arith_model.transformer import build_for
from arith_shared.errors import CancelledError, HalfPrecisionError
from arith_shared.problems import encode, sample
from arith_shared.store.states import StateReader
from arith_shared.vitals import VITALS
from arith_shared.work import Artifact, Context, Unit

COUNT = 64


@pytest.fixture(scope="session")
def model_artifact(lm, tmp_path_factory):
    folder = tmp_path_factory.mktemp("model")
    lm.save_pretrained(folder)
    return Artifact("k" * 32, "models", folder, "digest-of-the-model", {})


@pytest.fixture
def extract(model_artifact, tmp_path):
    """Run the handler on a range; returns the shard's folder and the outcome."""

    def run(
        spec, start=0, count=COUNT, artifact=model_artifact, progress=None, weights="trained", split="probe"
    ):
        output = tmp_path / f"{len(list(tmp_path.iterdir()))}"
        output.mkdir()
        unit = Unit(
            "run",
            "extract",
            f"{split}/{start}",
            1,
            {"weights": weights, "split": split, "start": start, "count": count},
        )
        extra = {"progress": progress} if progress else {}
        context = Context({"train": [artifact]}, output, tmp_path, **extra)
        return output, handle(spec, unit, context)

    return run


def changed(spec, **extract):
    return spec.model_copy(update={"extract": spec.extract.model_copy(update=extract)})


@pytest.fixture(scope="module")
def greedy(spec, lm):
    """Plain greedy generation: bool[problem] and, per layer, the states of the question."""
    distribution = spec.task.evaluation()
    encoded = encode(sample(distribution, "probe", 0, COUNT, spec.seed), distribution)
    question = int(encoded.question_length[0])
    ids = torch.from_numpy(encoded.ids)
    result = lm.generate(
        ids[:, :question],
        attention_mask=torch.ones_like(ids[:, :question]),
        do_sample=False,
        max_new_tokens=ids.shape[1] - question,
        output_hidden_states=True,
        return_dict_in_generate=True,
    )
    return (result.sequences == ids).all(dim=1).numpy(), [layer.numpy() for layer in result.hidden_states[0]]


def table(folder):
    return pyarrow.parquet.read_table(folder / "problems.parquet").to_pydict()


def test_the_solved_problems_are_those_that_generation_solves(extract, spec, greedy):
    folder, outcome = extract(spec)
    solved, _ = greedy
    assert 5 < solved.sum() < COUNT - 5
    assert table(folder)["solved"] == solved.tolist()
    assert table(folder)["index"] == list(range(COUNT))
    np.testing.assert_array_equal(StateReader([folder], COUNT).indices, np.flatnonzero(solved))
    assert outcome.meta == {
        "weights": "trained",
        "split": "probe",
        "start": 0,
        "tried": COUNT,
        "solved": solved.sum(),
        "kept": solved.sum(),
        "layers": [0, 1, 2],
        "width": 16,
        "device": outcome.meta["device"],
    }


def test_solved_to_fit_leaves_unsolved_problems_out_of_the_fitting_split_only(extract, spec):
    fit, test = (
        extract(changed(spec, keep="solved_to_fit"), split=split)[1].meta for split in ("probe", "test")
    )
    assert 0 < fit["kept"] == fit["solved"] < COUNT
    assert 0 < test["solved"] < test["kept"] == COUNT
    rows = table(extract(changed(spec, keep="solved_to_fit"), split="test")[0])
    assert rows["kept"] == [True] * COUNT
    assert sum(rows["solved"]) == test["solved"]


@pytest.mark.parametrize("values", ["in_range", "unrestricted"])
def test_the_state_at_a_number_in_digits_is_that_of_its_last_digit(extract, spec, tmp_path, values):
    task = spec.task.model_copy(
        update={"max_number": 99, "number_tokens": "digit", "values": values, "chain": "short"}
    )
    spelt = changed(spec.model_copy(update={"task": task}), keep="all")
    model = build_for(spelt).eval()
    model.save_pretrained(tmp_path / "model")
    artifact = Artifact("k" * 32, "models", tmp_path / "model", f"digits-{values}", {})
    folder, _ = extract(spelt, count=5, artifact=artifact)
    reader = StateReader([folder], 5)
    distribution = task.evaluation()
    for row, text in enumerate(table(folder)["text"]):
        characters = text.replace(" ", "")
        ids = torch.tensor([distribution.vocabulary.encode(characters)])
        with torch.no_grad():
            states = model(ids, output_hidden_states=True).hidden_states[2][0]
        # Words by their characters: every token here is one.
        ends = [found.end() - 1 for found in re.finditer(words_of(values), characters)]
        assert len(ends) == len(reader.labels)
        for position, end in enumerate(ends):
            np.testing.assert_allclose(
                reader.matrix(2, position)[row], states[end].numpy(), rtol=2e-3, atol=2e-3
            )


def words_of(values):
    """Numbers have two digits and values, where they can be negative, a sign and three."""
    return r"\d\d|\D" if values == "in_range" else r"[+-]\d\d\d|\d\d|\D"


def test_the_states_are_those_of_generation_rounded_to_half_precision(extract, spec, greedy):
    folder, _ = extract(spec)
    reader = StateReader([folder], COUNT)
    solved, layers = greedy
    assert reader.labels == tuple("A=1+B,B=2+3,C=4+5;A=")
    assert reader.layers == (0, 1, 2)
    for layer, states in enumerate(layers):
        for position in range(len(reader.labels)):
            expected = states[solved, position]
            np.testing.assert_allclose(reader.matrix(layer, position), expected, rtol=2**-10, atol=1e-5)


def test_values_and_text_are_those_of_the_problems(extract, spec):
    rows = table(extract(spec)[0])
    problems = sample(spec.task.evaluation(), "probe", 0, COUNT, spec.seed)
    np.testing.assert_array_equal(np.array([rows[name] for name in "ABC"]).T, problems.values)
    for text, answer in zip(rows["text"], problems.answer, strict=True):
        assert text.count("=") == 4
        assert text.endswith(f"={answer}")


def test_one_shard_or_four_give_the_same_bits(extract, spec):
    whole = StateReader([extract(spec)[0]], COUNT)
    parts = [extract(spec, start, COUNT // 4)[0] for start in range(0, COUNT, COUNT // 4)]
    reader = StateReader(parts[::-1], COUNT)
    np.testing.assert_array_equal(reader.indices, whole.indices)
    for layer in whole.layers:
        for position in range(len(whole.labels)):
            np.testing.assert_array_equal(reader.matrix(layer, position), whole.matrix(layer, position))


def test_keep_all_writes_the_unsolved_ones_too_and_still_says_which(extract, spec, greedy):
    folder, outcome = extract(changed(spec, keep="all"))
    assert StateReader([folder], COUNT).n == outcome.meta["kept"] == COUNT
    assert table(folder)["solved"] == greedy[0].tolist()
    assert outcome.meta["solved"] == greedy[0].sum()


def test_only_the_layers_of_the_spec_are_written(extract, spec):
    everything = StateReader([extract(spec)[0]], COUNT)
    folder, outcome = extract(changed(spec, layers=(2, 0)))
    some = StateReader([folder], COUNT)
    assert some.layers == (0, 2)
    assert outcome.meta["layers"] == [0, 2]
    assert not (folder / "layer=01.parquet").exists()
    np.testing.assert_array_equal(some.matrix(2, 7), everything.matrix(2, 7))


def test_a_chain_is_probed_up_to_the_token_before_eos(extract, spec):
    chained = spec.model_copy(update={"task": spec.task.model_copy(update={"chain": "short"})})
    folder, _ = extract(changed(chained, keep="all"), count=8)
    reader = StateReader([folder], 8)
    distribution = chained.task.evaluation()
    encoded = encode(sample(distribution, "probe", 0, 8, spec.seed), distribution, "short")
    assert len(reader.labels) == encoded.length[0] - 1
    assert reader.labels[20:] == tuple("A=1+B,B=2+3,B=5,A=1+5,A=6")
    # Layer 0 is a function of token and position only, so equal tokens have equal states and others not.
    last = encoded.ids[:, -2]
    states = reader.matrix(0, len(reader.labels) - 1)
    same_token = last[:, None] == last
    same_state = (states[:, None] == states).all(axis=2)
    np.testing.assert_array_equal(same_state, same_token)


def test_a_shard_says_where_its_states_come_from(extract, spec):
    metadata = pyarrow.parquet.read_schema(extract(spec)[0] / "layer=02.parquet").metadata
    assert metadata[b"last_layer"] == b"after the final norm"
    assert metadata[b"split"] == b"probe"
    assert b"digest-of-the-model" in metadata[b"arith.shard"]


def test_bfloat16_stores_the_same_states_more_coarsely(extract, spec):
    exact = StateReader([extract(spec)[0]], COUNT).matrix(1, 3)
    coarse = StateReader([extract(changed(spec, dtype="bfloat16"))[0]], COUNT).matrix(1, 3)
    np.testing.assert_allclose(coarse, exact, rtol=2**-7)
    assert (coarse != exact).any()


def test_progress_counts_problems_batch_by_batch(extract, spec):
    reports = []
    extract(spec, count=20, progress=lambda done, total, unit, note="": reports.append((done, total, unit)))
    assert reports == [(done, 20, "problems") for done in (0, 8, 16, 20)]


def test_a_cancelled_unit_stops_at_the_next_batch(extract, spec, tmp_path):
    def cancel(done, total, unit, note=""):
        if done >= 8:
            raise CancelledError

    with pytest.raises(CancelledError):
        extract(spec, progress=cancel)
    assert not list(tmp_path.rglob("problems.parquet"))


def test_a_model_is_loaded_once_for_the_shards_of_a_run(extract, spec, monkeypatch):
    loaded, load = [], lms.load_model
    monkeypatch.setattr(lms, "load_model", lambda *of: loaded.append(of) or load(*of))
    monkeypatch.setattr(lms, "_held", {})
    for start in (0, 8):
        extract(spec, start, 8)
    assert len(loaded) == 1
    extract(changed(spec, precision="bfloat16"), 0, 8)
    assert len(loaded) == 2
    assert len(lms._held) == 1


def test_states_beyond_float16_stop_the_unit_with_the_remedy(extract, spec, lm, tmp_path_factory):
    norm = lm.model.decoder.final_layer_norm.weight
    folder = tmp_path_factory.mktemp("loud")
    with torch.no_grad():
        norm.mul_(1e6)
        lm.save_pretrained(folder)
        norm.div_(1e6)
    loud = Artifact("l" * 32, "models", folder, "digest-of-the-loud-model", {})
    with pytest.raises(HalfPrecisionError, match=r"layer 2, position 0 \(A\): .*set extract.dtype=bfloat16"):
        extract(changed(spec, keep="all"), artifact=loud)
    extract(changed(spec, keep="all", dtype="bfloat16"), artifact=loud)


def test_the_untrained_control_reads_the_lm_as_it_was_before_training_on_all_problems(extract, spec):
    folder, outcome = extract(spec, weights="untrained")
    assert outcome.meta["weights"] == "untrained"
    assert outcome.meta["kept"] == outcome.meta["tried"] == COUNT
    problems = sample(spec.task.evaluation(), "probe", 0, COUNT, spec.seed)
    ids = torch.from_numpy(encode(problems, spec.task.evaluation(), spec.task.chain).ids)
    with torch.inference_mode():
        expected = build_for(spec).eval()(ids[:, :-1], output_hidden_states=True).hidden_states[1][:, 3]
    found = StateReader([folder], COUNT).matrix(1, 3)
    np.testing.assert_allclose(found, expected.numpy(), rtol=1e-3, atol=1e-3)


def test_all_tokens_of_the_texts_are_counted(extract, spec):
    before = VITALS.tokens
    extract(spec)
    distribution = spec.task.evaluation()
    ids = encode(sample(distribution, "probe", 0, COUNT, spec.seed), distribution, spec.task.chain).ids
    assert VITALS.tokens - before == ids.size

"""A content key changes with everything that determines the artifact and with nothing else."""

from __future__ import annotations

import hashlib
from typing import Any

import pytest

from arith_shared import keys
from arith_shared.ledger.plan import UNTRAINED_FAMILIES
from arith_shared.specs import Spec, apply_overrides, field_paths, parse_spec

TRAIN, UNTRAINED, EXTRACT, SUMMARY = "train", "untrained", "extract", "summary"
PROBE, CONTROL = "probe of the trained LM", "probe of the untrained LM"
#: What only changes speed, or how the work is cut into units (the cut itself is in the units' payloads).
NOTHING: set[str] = set()
LM = {TRAIN, UNTRAINED}

#: Every field of a spec: another possible value, and the keys that it enters directly. What it changes
#: indirectly, through the digest of the weights or the keys of shards, is not repeated.
FIELDS: dict[str, tuple[Any, set[str]]] = {
    "seed": (1, {TRAIN, UNTRAINED, EXTRACT, PROBE, CONTROL, SUMMARY}),
    "task.layout": ("level-5", {TRAIN, UNTRAINED, EXTRACT}),
    "task.training": ("general", {TRAIN, UNTRAINED}),
    "task.lengths": ("uniform", {TRAIN}),
    "task.max_number": (9, {TRAIN, UNTRAINED, EXTRACT}),
    "task.values": ("unrestricted", {TRAIN, UNTRAINED, EXTRACT}),
    "task.number_tokens": ("digit", {TRAIN, UNTRAINED, EXTRACT}),
    "task.names": (20, {TRAIN, UNTRAINED, EXTRACT}),
    "task.chain": ("short", {TRAIN, UNTRAINED, EXTRACT}),
    "task.separator": (",", {TRAIN, UNTRAINED, EXTRACT}),
    "task.question": ("=?", {TRAIN, UNTRAINED, EXTRACT}),
    "lm.layers": (4, LM),
    "lm.heads": (8, LM),
    "lm.width": (512, LM),
    "lm.ffn": (512, LM),
    "lm.dropout": (0.0, LM),
    "lm.attention_dropout": (0.1, LM),
    "lm.init_std": (0.1, LM),
    "lm.position_std": (0.1, LM),
    "lm.number_embeddings": ("random", LM),
    "lm.embedding_std": (0.1, LM),
    "lm.freeze_embeddings": (False, LM),
    "lm.tie_head": (True, LM),
    "lm.training.problems": (100, {TRAIN}),
    "lm.training.epochs": (1, {TRAIN}),
    "lm.training.batch_tokens": (100, {TRAIN}),
    "lm.training.optimizer": ("adamw", {TRAIN}),
    "lm.training.weight_decay": (0.1, {TRAIN}),
    "lm.training.betas": ([0.9, 0.98], {TRAIN}),
    "lm.training.eps": (1e-6, {TRAIN}),
    "lm.training.lr": (1e-3, {TRAIN}),
    "lm.training.warmup_steps": (5, {TRAIN}),
    "lm.training.final_lr_fraction": (0.1, {TRAIN}),
    "lm.training.clip": (2.0, {TRAIN}),
    "lm.training.loss": ("sequence", {TRAIN}),
    "lm.training.questions": ("all", {TRAIN}),
    # Only the general training set has layouts for lessons: a test of its own.
    "lm.training.course": ([], NOTHING),
    "lm.training.lesson_problems": (5, {TRAIN}),
    "lm.training.lesson_accuracy": (0.9, {TRAIN}),
    "lm.training.precision": ("float32", {TRAIN}),
    # When and on what the validation accuracy is measured decides where training stops, and is in its log.
    "lm.training.evaluate_every": (5, {TRAIN}),
    "lm.training.evaluate_problems": (5, {TRAIN}),
    "lm.training.stop_at_accuracy": (0.9, {TRAIN}),
    "lm.training.checkpoint_every_s": (5.0, NOTHING),
    "extract.n_train": (20, {PROBE, CONTROL}),
    "extract.n_eval": (20, {PROBE, CONTROL}),
    "extract.shard_problems": (100, NOTHING),
    "extract.max_tries": (9.0, NOTHING),
    "extract.keep": ("all", {EXTRACT}),
    "extract.precision": ("bfloat16", {EXTRACT}),
    "extract.dtype": ("bfloat16", {EXTRACT}),
    "extract.layers": ([0, 1], {EXTRACT}),
    "extract.positions": ([0, 1], {EXTRACT}),
    "extract.keep_states": (False, NOTHING),
    "extract.layers_at_once": (2, NOTHING),
    # The sums of a matrix product, and so the last bits of a state, depend on how many rows it has.
    "extract.batch_problems": (7, {EXTRACT}),
    "probe.families": (["ridge"], {PROBE}),  # the untrained LM is read by ridge alone
    "probe.mlp.epochs": (60, {PROBE}),
    "probe.mlp.lr": (1e-2, {PROBE}),
    "probe.mlp.dtype": ("bfloat16", {PROBE}),
    "probe.ridge.penalties": ([1.0], {PROBE, CONTROL}),
    "probe.controls": (3, {PROBE, CONTROL}),
    "probe.untrained": (True, NOTHING),
    "probe.resamples": (10, {PROBE, CONTROL}),
    "probe.keep_predictions": (False, {PROBE, CONTROL}),
    "probe.block_positions": (2, NOTHING),
    "probe.threshold": (0.8, {SUMMARY}),
}
#: Values without which another value would not be possible.
ALSO = {"lm.tie_head": [("lm.freeze_embeddings", False)]}
#: Fields that have one value only, where the LM is an OPT.
FIXED = {"lm.kind", "extract.criterion"}


def all_keys(spec: Spec) -> dict[str, str]:
    payload = {"split": "probe", "start": 0, "count": 10}
    trained = {"weights": "trained", "families": list(spec.probe.families)}
    untrained = {"weights": "untrained", "families": UNTRAINED_FAMILIES}
    return {
        TRAIN: keys.train_key(spec),
        UNTRAINED: keys.untrained_digest(spec, "digest"),
        EXTRACT: keys.extract_key(spec, "digest", payload),
        PROBE: keys.probe_key(spec, ["shard"], trained),
        CONTROL: keys.probe_key(spec, ["shard"], untrained),
        SUMMARY: keys.summary_key(spec, ["block"]),
    }


def test_every_field_of_a_spec_is_classified_here():
    assert FIELDS.keys() | FIXED == set(field_paths())


@pytest.mark.parametrize("path", FIELDS)
def test_a_field_enters_exactly_the_keys_of_what_it_determines(path):
    value, expected = FIELDS[path]
    base = parse_spec(apply_overrides({}, ALSO.get(path, [])))
    changed = parse_spec(apply_overrides({}, [*ALSO.get(path, []), (path, value)]))
    before, after = all_keys(base), all_keys(changed)
    assert {name for name in before if before[name] != after[name]} == expected


def test_a_key_depends_on_its_payload_and_on_what_it_is_made_from():
    spec = Spec()
    payload = {"split": "probe", "start": 0, "count": 10}
    shard = keys.extract_key(spec, "digest", payload)
    assert shard != keys.extract_key(spec, "other weights", payload)
    assert shard != keys.extract_key(spec, "digest", {**payload, "start": 10})
    cells = {"weights": "trained", "families": ["ridge"], "layer": 0}
    block = keys.probe_key(spec, ["a", "b"], cells)
    assert block != keys.probe_key(spec, ["b", "a"], cells)
    assert block != keys.probe_key(spec, ["a", "b"], {**cells, "layer": 1})
    assert keys.summary_key(spec, ["a"]) != keys.summary_key(spec, ["a", "b"])


def test_what_is_kept_of_a_split_names_its_shards_not_the_option():
    solved, fit, everything = (
        parse_spec({"extract": {"keep": keep}}) for keep in ("solved", "solved_to_fit", "all")
    )

    def key(spec, split):
        return keys.extract_key(spec, "digest", {"split": split})

    assert key(fit, "probe") == key(solved, "probe") != key(everything, "probe")
    assert key(fit, "test") == key(everything, "test") != key(solved, "test")


def test_another_schema_number_gives_other_keys(monkeypatch):
    before = all_keys(Spec())
    monkeypatch.setattr(keys, "SCHEMA", {stage: number + 1 for stage, number in keys.SCHEMA.items()})
    assert not before.items() & all_keys(Spec()).items()


def test_stages_with_equal_determinants_have_different_keys():
    assert keys.content_key("train", x=1) != keys.content_key("extract", x=1)


def test_keys_do_not_depend_on_the_order_in_which_values_are_given():
    text = keys.canonical_json({"b": [1, 2.5], "a": {"d": None, "c": "ä"}})
    assert text == '{"a":{"c":"\\u00e4","d":null},"b":[1,2.5]}'
    with pytest.raises(ValueError, match="not JSON compliant"):
        keys.canonical_json(float("nan"))


def test_a_course_enters_the_key_of_the_training_alone():
    constant = {"task": {"training": "general"}}
    before = all_keys(parse_spec(constant))
    after = all_keys(parse_spec(apply_overrides(constant, [("lm.training.course", ["numbers", "deep"])])))
    assert {name for name in before if before[name] != after[name]} == {TRAIN}


def test_a_key_is_the_beginning_of_a_sha256_in_hexadecimal():
    text = f'{{"schema":{keys.SCHEMA["train"]},"stage":"train","x":1}}'
    assert keys.content_key("train", x=1) == hashlib.sha256(text.encode()).hexdigest()[:32]


def test_equal_specs_have_equal_keys_however_they_were_written():
    assert keys.spec_key(parse_spec({})) == keys.spec_key(parse_spec({"lm": {"layers": 8}, "seed": 0}))
    assert keys.spec_key(parse_spec({})) != keys.spec_key(parse_spec({"seed": 1}))


MISTRAL = {"lm": {"kind": "mistral"}, "task": {"chain": "short"}}
PRETRAINED = {
    "lm": {"kind": "pretrained", "path": "a/b", "layers": 3, "width": 8},
    "task": {"chain": "short"},
}
#: Fields of the other LMs, as `FIELDS`; the shape that a pretrained LM is said to have is checked, and the hashes of
#: its weights, which stand for it, come in with the model's digest.
OTHERS: dict[str, dict[str, tuple[Any, set[str]]]] = {
    "mistral": {
        "lm.layers": (2, LM),
        "lm.heads": (2, LM),
        "lm.kv_heads": (1, LM),
        "lm.width": (64, LM),
        "lm.ffn": (64, LM),
        "lm.init_std": (0.1, LM),
        "lm.problems_per_text": (2, LM),
    },
    "pretrained": {
        "lm.path": ("c/d", {TRAIN}),
        "lm.revision": ("main", {TRAIN}),
        "lm.layers": (4, NOTHING),
        "lm.width": (16, NOTHING),
        "lm.device_map": ("auto", NOTHING),
    },
}
PROMPT = {
    "lm.prompt.demonstrations": (1, {EXTRACT}),
    "lm.prompt.demonstration_seed": (1, {EXTRACT}),
    "lm.prompt.spacing": ("compact", {EXTRACT}),
    "lm.prompt.lengths": ("mixed", {EXTRACT}),
    "extract.criterion": ("answer", {EXTRACT}),
}


@pytest.mark.parametrize(("kind", "base"), [("mistral", MISTRAL), ("pretrained", PRETRAINED)])
def test_fields_of_other_lms_enter_exactly_the_keys_of_what_they_determine(kind, base):
    fields = OTHERS[kind] | PROMPT
    named = {path for path in field_paths(kind) if path.startswith("lm.") and "training" not in path}
    assert fields.keys() == named - {"lm.kind"} | {"extract.criterion"}
    before = all_keys(parse_spec(base))
    for path, (value, expected) in fields.items():
        after = all_keys(parse_spec(apply_overrides(base, [(path, value)])))
        assert {name for name in before if before[name] != after[name]} == expected, path


def test_each_run_looks_a_pretrained_lm_up_for_itself_and_trains_no_other_twice():
    looked_up, trained = parse_spec(PRETRAINED), parse_spec(MISTRAL)
    assert keys.train_key(looked_up, "run-a") != keys.train_key(looked_up, "run-b")
    assert keys.train_key(trained, "run-a") == keys.train_key(trained, "run-b")


BEFORE = {
    "train": "120519d1a6e6c6f5b2c8bc128ffec145",
    "extract": "b39edc3aa827f122fab5a52ee17b2026",
    # Before `probe.mlp.dtype`.
    "probe": "1024fb9f045e8abf26fd62c4325f27c6",
    "ridge": "cc0685f74e609f6029112ef4ef2f200e",
}


def test_keys_of_artifacts_made_before_there_were_other_lms_are_still_theirs():
    """Computed by the code before `task.separator`, `extract.positions` and their like were fields."""
    spec = parse_spec({})
    assert keys.train_key(spec) == BEFORE["train"]
    assert keys.extract_key(spec, "digest", {"split": "probe"}) == BEFORE["extract"]
    for name, families in (("probe", ["mlp", "ridge"]), ("ridge", ["ridge"])):
        payload = {"weights": "trained", "families": families, "layer": 0}
        assert keys.probe_key(spec, ["shard"], payload) == BEFORE[name]

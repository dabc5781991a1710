"""A spec is frozen, complete and possible, and survives the way through JSON and YAML."""

from __future__ import annotations

import json

import pytest
import yaml
from pydantic import BaseModel, ValidationError

from arith_shared.errors import SpecError
from arith_shared.specs import Spec, apply_overrides, field_paths, parse_spec


def test_a_spec_survives_json_and_yaml():
    spec = parse_spec({"lm": {"training": {"betas": [0.8, 0.95]}}, "extract": {"layers": [0, 2]}, "seed": 3})
    dumped = spec.model_dump(mode="json")
    assert parse_spec(json.loads(json.dumps(dumped))) == spec
    assert parse_spec(yaml.safe_load(yaml.safe_dump(dumped))) == spec


def test_a_spec_is_hashable_and_cannot_change():
    spec = Spec()
    assert hash(spec) == hash(Spec())
    with pytest.raises(ValidationError, match="frozen"):
        spec.seed = 1
    with pytest.raises(ValidationError, match="frozen"):
        spec.lm.training.lr = 1.0


def test_the_defaults_are_the_papers_specialised_model():
    spec = Spec()
    assert (spec.lm.layers, spec.lm.heads, spec.lm.width) == (8, 16, 1024)
    assert (spec.lm.training.epochs, spec.lm.training.lr, spec.task.max_number) == (500, 3e-5, 99)


def test_field_paths_names_every_value_and_no_group():
    paths = field_paths()
    assert {"seed", "task.layout", "lm.training.lr", "probe.mlp.epochs"} <= set(paths)
    assert len(paths) == len(set(paths))
    for path in paths:
        node = Spec()
        for name in path.split("."):
            node = getattr(node, name)
        assert not isinstance(node, BaseModel)


@pytest.mark.parametrize("layer", [0, 8])
def test_layers_run_from_the_embeddings_to_the_last_block(layer):
    assert parse_spec({"extract": {"layers": [layer]}}).extract.layers == (layer,)
    with pytest.raises(SpecError, match="this LM has layers 0 to 8"):
        parse_spec({"extract": {"layers": [9]}})


def test_a_general_model_needs_names_for_its_longest_problems():
    with pytest.raises(SpecError, match=r"names 2: .* needs 3 variable names"):
        parse_spec({"task": {"layout": "level-1", "training": "general", "names": 2}})
    assert parse_spec({"task": {"layout": "level-1", "names": 2}}).task.names == 2


def test_several_mistakes_are_told_in_one_error():
    with pytest.raises(SpecError) as caught:
        parse_spec({"seed": "x", "lm": {"heads": 0, "wdith": 1}})
    assert sorted(line.split(":")[0] for line in str(caught.value).splitlines()) == [
        "lm.heads",
        "lm.wdith",
        "seed",
    ]


def test_overrides_make_the_groups_that_are_missing():
    assert apply_overrides({}, [("probe.mlp.epochs", 60), ("probe.mlp.lr", 1.0), ("seed", 2)]) == {
        "probe": {"mlp": {"epochs": 60, "lr": 1.0}},
        "seed": 2,
    }


def test_overrides_leave_the_given_data_alone():
    data = {"probe": {"mlp": {"epochs": 30}}}
    assert apply_overrides(data, [("probe.mlp.epochs", 60)])["probe"]["mlp"]["epochs"] == 60
    assert data == {"probe": {"mlp": {"epochs": 30}}}


def test_an_override_below_a_value_is_refused():
    with pytest.raises(SpecError, match=r"seed\.x: seed is a value, not a group"):
        apply_overrides({"seed": 1}, [("seed.x", 1)])


PRETRAINED = {"kind": "pretrained", "path": "a/b", "layers": 3, "width": 8}


@pytest.mark.parametrize("lm", [{"kind": "opt"}, {"kind": "mistral"}, PRETRAINED], ids=lambda lm: lm["kind"])
def test_every_kind_of_lm_survives_json_and_names_its_own_fields(lm):
    spec = parse_spec({"lm": lm})
    assert spec.lm.kind == lm["kind"]
    assert parse_spec(json.loads(json.dumps(spec.model_dump(mode="json")))) == spec
    for path in field_paths(lm["kind"]):
        node = spec
        for name in path.split("."):
            node = getattr(node, name)
        assert not isinstance(node, BaseModel)


@pytest.mark.parametrize(
    ("lm", "message"),
    [
        ({"kind": "pretrained"}, r"lm\.layers: required for lm\.kind pretrained: num_hidden_layers in"),
        ({"kind": "gpt"}, "kind must be opt, mistral or pretrained"),
        ({"path": "a/b"}, r"lm\.path: unknown field: it belongs to lm\.kind pretrained, and this is opt"),
        ({"kind": "mistral", "hedas": 2}, r"lm\.hedas: unknown field; did you mean heads\?"),
        ({"kind": "mistral", "training": {"lr": -1}}, r"^lm\.training\.lr: "),
        ({"kind": "mistral", "heads": 4, "kv_heads": 3}, "heads 4 is not a multiple of kv_heads 3"),
        ({"kind": "mistral", "width": 12}, "width 12 must be an even multiple of heads 4"),
    ],
)
def test_mistakes_about_the_kind_of_lm_are_told_in_its_words(lm, message):
    with pytest.raises(SpecError, match=message):
        parse_spec({"lm": lm})


def test_positions_are_those_of_the_text():
    assert parse_spec({"extract": {"positions": [19, 0]}}).extract.positions == (19, 0)
    with pytest.raises(SpecError, match="names position 20; this task has positions 0 to 19"):
        parse_spec({"extract": {"positions": [20]}})


def test_final_answers_are_judged_in_plain_text_only():
    with pytest.raises(SpecError, match="criterion answer needs an LM that is asked in plain text"):
        parse_spec({"extract": {"criterion": "answer"}})

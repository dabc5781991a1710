"""A pretrained LM is looked up, not trained: the artifact stands for its content and for nothing else."""

from __future__ import annotations

import json

import pytest
from safetensors.torch import load_file, save_file

from arith_shared.errors import PretrainedError
from arith_shared.specs import parse_spec
from arith_shared.work import Context, Unit
from arith_trainer.handler import handle
from harness.pretrained import family, save


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return save(*family("qwen2"), tmp_path_factory.mktemp("lm"))


def look_up(path, output, **lm):
    output.mkdir()
    spec = parse_spec({"lm": {"kind": "pretrained", "path": str(path), "layers": 2, "width": 32} | lm})
    outcome = handle(spec, Unit("run", "train", "model", 1, {}), Context({}, output, output))
    return (output / "lm.json").read_bytes(), outcome


def copied(folder, target):
    target.mkdir()
    for path in folder.iterdir():
        (target / path.name).write_bytes(path.read_bytes())
    return target


def test_the_same_lm_under_another_path_is_the_same_artifact(folder, tmp_path):
    one, outcome = look_up(folder, tmp_path / "one")
    two, _ = look_up(copied(folder, tmp_path / "copy"), tmp_path / "two")
    assert one == two
    assert str(folder) not in one.decode()
    weights = load_file(folder / "model.safetensors")
    assert outcome.meta["parameters"] == sum(weight.numel() for weight in weights.values())


@pytest.mark.parametrize("what", ["weights", "tokenizer", "config"])
def test_any_change_of_content_is_another_artifact(folder, tmp_path, what):
    before = json.loads(look_up(folder, tmp_path / "one")[0])
    other = copied(folder, tmp_path / "other")
    if what == "weights":
        weights = load_file(other / "model.safetensors")
        next(iter(weights.values())).view(-1)[0] += 1
        save_file(weights, other / "model.safetensors", metadata={"format": "pt"})
    elif what == "tokenizer":
        data = json.loads((other / "tokenizer.json").read_text())
        data["model"]["merges"].pop()
        (other / "tokenizer.json").write_text(json.dumps(data))
    else:
        data = json.loads((other / "config.json").read_text())
        data["rms_norm_eps"] = 0.5
        (other / "config.json").write_text(json.dumps(data))
    after = json.loads(look_up(other, tmp_path / "two")[0])
    assert {name for name in before if before[name] != after[name]} == {what}


def test_another_shape_than_the_spec_says_is_refused_with_the_fields_to_set(folder, tmp_path):
    with pytest.raises(PretrainedError, match=r"the spec says lm.layers=3, .* submit with -s lm.layers=2$"):
        look_up(folder, tmp_path / "one", layers=3)


def test_weights_that_could_hold_code_are_refused(folder, tmp_path):
    other = copied(folder, tmp_path / "other")
    (other / "model.safetensors").rename(other / "pytorch_model.bin")
    with pytest.raises(PretrainedError, match=r"expected weights in \*.safetensors, found pytorch_model.bin"):
        look_up(other, tmp_path / "one")


def test_an_lm_with_code_of_its_own_is_refused_and_its_code_not_run(folder, tmp_path):
    other = copied(folder, tmp_path / "other")
    ran = tmp_path / "ran"
    code = f"open({str(ran)!r}, 'w')\nfrom transformers import PretrainedConfig as Own\n"
    (other / "own.py").write_text(code)
    config = json.loads((other / "config.json").read_text())
    config |= {"model_type": "own", "auto_map": {"AutoConfig": "own.Own"}}
    (other / "config.json").write_text(json.dumps(config))
    with pytest.raises(PretrainedError, match="without code of its own, which is never run"):
        look_up(other, tmp_path / "one")
    assert not ran.exists()


def test_a_folder_that_is_not_there_is_named(tmp_path):
    with pytest.raises(
        PretrainedError, match=r"expected a folder or an id on the Hub such as .*, found /no/such"
    ):
        look_up("/no/such/folder", tmp_path / "one")


def test_offline_the_error_says_how_to_point_at_a_folder(tmp_path, monkeypatch):
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
    with pytest.raises(PretrainedError, match=r"hf download own/none --local-dir FOLDER.* -s lm.path=FOLDER"):
        look_up("own/none", tmp_path / "one")

"""The LM starts from the paper's embeddings, and a saved one needs none of this code."""

from __future__ import annotations

import math
import subprocess
import sys

import numpy as np
import pytest
import torch
from transformers.utils import logging

from arith_model.tokenizer import build_tokenizer, save_tokenizer
from arith_model.transformer import build, build_for, load_model, save_model, sinusoids
from arith_shared.problems import encode, sample, texts
from arith_shared.specs import parse_spec

CPU = torch.device("cpu")


def changed(spec, **lm):
    return spec.model_copy(update={"lm": spec.lm.model_copy(update=lm)})


@pytest.fixture(scope="module")
def model(spec):
    return build_for(spec).eval()


@pytest.fixture(scope="module")
def ids(spec):
    """int64[problem, token]: whole texts, EOS included."""
    distribution = spec.task.evaluation()
    return torch.from_numpy(encode(sample(distribution, "test", 0, 20, 0), distribution).ids)


@pytest.fixture(scope="module")
def folder(spec, model, tmp_path_factory):
    folder = tmp_path_factory.mktemp("model")
    save_model(model, folder)
    save_tokenizer(build_tokenizer(spec.task.evaluation().vocabulary), folder)
    return folder


@pytest.mark.parametrize(("count", "width"), [(100, 1024), (13, 32), (1, 2)])
def test_sinusoids_are_those_of_attention_is_all_you_need(count, width):
    """Vaswani et al. 2017, section 3.5: PE(pos, 2i) = sin(pos / 10000^(2i/d)), PE(pos, 2i+1) = cos(...)."""
    expected = np.empty((count, width))
    for position in range(count):
        for i in range(width // 2):
            angle = position / math.pow(10_000, 2 * i / width)
            expected[position, 2 * i], expected[position, 2 * i + 1] = math.sin(angle), math.cos(angle)
    np.testing.assert_allclose(sinusoids(count, width).numpy(), expected, rtol=0, atol=1e-6)


def test_numbers_are_embedded_by_their_sinusoid_and_other_tokens_at_random(spec, model):
    vocabulary = spec.task.evaluation().vocabulary
    embeddings = model.get_input_embeddings().weight
    assert embeddings.shape == (vocabulary.size, spec.lm.width)
    assert torch.equal(embeddings[vocabulary.first_number :], sinusoids(13, spec.lm.width))
    others = embeddings[: vocabulary.first_number]
    assert others.unique(dim=0).shape == others.shape
    random = build_for(changed(spec, number_embeddings="random")).get_input_embeddings().weight
    assert torch.equal(random[: vocabulary.first_number], others)
    assert not torch.isclose(random[vocabulary.first_number :], sinusoids(13, spec.lm.width)).any(dim=1).all()


@pytest.mark.parametrize(
    ("task", "numbers"),
    [
        ({"values": "unrestricted", "max_number": 4}, range(-12, 17)),
        ({"number_tokens": "digit", "max_number": 99}, range(10)),
        ({"number_tokens": "digit", "values": "unrestricted", "max_number": 99}, range(10)),
    ],
)
def test_negative_numbers_and_digits_have_the_sinusoid_of_their_value(spec, task, numbers):
    other = spec.model_copy(update={"task": spec.task.model_copy(update=task)})
    vocabulary = other.task.evaluation().vocabulary
    model = build_for(other)
    embeddings = model.get_input_embeddings().weight
    assert embeddings.shape == (vocabulary.size, spec.lm.width)
    for number in numbers:
        (token,) = vocabulary.encode([str(number)])
        angle = [number / 10_000 ** (2 * i / spec.lm.width) for i in range(spec.lm.width // 2)]
        expected = np.ravel([np.sin(angle), np.cos(angle)], order="F")
        np.testing.assert_allclose(embeddings[token].numpy(), expected, rtol=0, atol=1e-5)
    encoded = encode(sample(other.task.evaluation(), "test", 0, 50, 0), other.task.evaluation())
    assert encoded.ids.max() < vocabulary.size
    # A place for each token of the longest text, and OPT's own two.
    assert model.model.decoder.embed_positions.weight.shape[0] == encoded.ids.shape[1] + 2


def test_every_weight_is_drawn_with_the_spread_that_the_spec_gives_it(spec):
    model = build_for(changed(spec, width=128, ffn=128, number_embeddings="random"))
    spreads = {"embed_tokens.weight": 0.5, "embed_positions.weight": 0.3}
    for name, weight in model.named_parameters():
        if name.endswith("bias"):
            assert not weight.any(), name
        elif "layer_norm" in name:
            assert (weight == 1).all(), name
        else:
            spread = next((value for end, value in spreads.items() if name.endswith(end)), 0.1)
            # Five standard errors of a standard deviation estimated from so many weights.
            assert abs(weight.std() / spread - 1) < 5 / math.sqrt(2 * weight.numel()), name
            assert abs(weight.mean() / spread) < 5 / math.sqrt(weight.numel()), name


def test_weights_follow_from_the_arguments_alone(spec, model):
    for state in (1, 2):
        torch.manual_seed(state)
        before = torch.get_rng_state()
        again = build_for(spec).state_dict()
        assert torch.equal(torch.get_rng_state(), before), "the global generator was advanced"
        assert all(torch.equal(again[name], weight) for name, weight in model.state_dict().items())


@pytest.mark.parametrize("seed", [5, 4 + 2**32])
def test_another_seed_gives_other_weights_everywhere(spec, model, seed):
    other = build_for(spec.model_copy(update={"seed": seed})).state_dict()
    for name, weight in model.state_dict().items():
        constant = name.endswith("bias") or "layer_norm" in name
        assert torch.equal(other[name], weight) is constant, name


def test_embeddings_are_frozen_and_nothing_else(spec, model):
    frozen = [name for name, weight in model.named_parameters() if not weight.requires_grad]
    assert frozen == ["model.decoder.embed_tokens.weight"]
    assert all(
        weight.requires_grad for weight in build_for(changed(spec, freeze_embeddings=False)).parameters()
    )


def test_the_head_is_tied_only_on_request(spec, model):
    assert model.lm_head.weight is not model.get_input_embeddings().weight
    tied = build_for(changed(spec, tie_head=True, freeze_embeddings=False))
    assert tied.lm_head.weight is tied.get_input_embeddings().weight
    assert torch.equal(tied.lm_head.weight, model.get_input_embeddings().weight)


@pytest.mark.parametrize(
    "task",
    [
        {"layout": "level-1"},
        {"layout": "level-1", "training": "general"},
        {"layout": "level-5", "training": "general", "chain": "backtrack"},
        {"layout": "level-5", "chain": "short"},
    ],
    ids=str,
)
def test_the_longest_text_of_training_and_evaluation_fits(spec, task):
    spec = parse_spec({**spec.model_dump(), "task": task})
    model = build_for(spec)
    for distribution in (spec.task.training_distribution(), spec.task.evaluation()):
        problems = sample(distribution, "train", 0, 100, 0)
        logits = model(torch.from_numpy(encode(problems, distribution, spec.task.chain).ids)).logits
        assert logits.isfinite().all()


def test_the_shape_is_that_of_the_spec(spec):
    lm = parse_spec({"lm": {"dropout": 0.3, "attention_dropout": 0.2}}).lm
    config = build(lm.model_copy(update={"layers": 1}), spec.task.evaluation().vocabulary, 22, 0).config
    assert (config.num_hidden_layers, config.num_attention_heads, config.hidden_size) == (1, 16, 1024)
    assert (config.ffn_dim, config.dropout, config.attention_dropout) == (4096, 0.3, 0.2)
    assert (config.do_layer_norm_before, config.activation_function) == (True, "relu")


def test_padding_on_the_right_changes_no_prediction(model, ids):
    padded = torch.nn.functional.pad(ids[:, :-4], (0, 4), value=0)
    with torch.no_grad():
        short, long = model(ids[:, :-4]).logits, model(padded).logits[:, :-4]
    torch.testing.assert_close(long, short, rtol=0, atol=1e-5)


def test_a_saved_model_comes_back_bit_by_bit_and_ready_to_read(folder, model):
    loaded = load_model(folder, torch.float32, CPU)
    assert not loaded.training
    assert all(torch.equal(loaded.state_dict()[name], weight) for name, weight in model.state_dict().items())
    assert load_model(folder, torch.bfloat16, CPU).dtype == torch.bfloat16


def test_nothing_is_drawn_into_the_log(model, tmp_path, capfd):
    shown = logging.is_progress_bar_enabled()
    save_model(model, tmp_path)
    load_model(tmp_path, torch.float32, CPU)
    assert capfd.readouterr() == ("", "")
    assert logging.is_progress_bar_enabled() is shown


def test_pickled_weights_are_refused(folder, model, tmp_path):
    (tmp_path / "config.json").write_bytes((folder / "config.json").read_bytes())
    torch.save(model.state_dict(), tmp_path / "pytorch_model.bin")
    with pytest.raises(OSError, match="safetensors"):
        load_model(tmp_path, torch.float32, CPU)


#: Opens a model folder in a process where this project cannot be imported.
STRANGER = """
import sys

class Blocked:
    def find_spec(self, name, path=None, target=None):
        if name.startswith("arith"):
            raise ImportError(f"{name} is not installed here")

sys.meta_path.insert(0, Blocked())
import numpy, torch
from transformers import AutoModelForCausalLM, AutoTokenizer

folder, text, output = sys.argv[1:]
tokenizer = AutoTokenizer.from_pretrained(folder)
model = AutoModelForCausalLM.from_pretrained(folder, attn_implementation="eager")
inputs = tokenizer(text, return_tensors="pt")
with torch.no_grad():
    logits = model(**inputs).logits
numpy.savez(output, ids=inputs["input_ids"], logits=logits)
"""


def test_a_saved_folder_is_used_without_this_code(spec, model, ids, folder, tmp_path):
    distribution = spec.task.evaluation()
    question, answer = texts(sample(distribution, "test", 0, 1, 0), distribution)[0]
    output = tmp_path / "seen.npz"
    arguments = [sys.executable, "-I", "-c", STRANGER, folder, question + answer, output]
    subprocess.run(arguments, check=True, capture_output=True, timeout=120)
    with np.load(output) as seen:
        np.testing.assert_array_equal(seen["ids"], ids[:1, :-1])
        with torch.no_grad():
            expected = model(ids[:1, :-1], attention_mask=torch.ones_like(ids[:1, :-1])).logits
        np.testing.assert_array_equal(seen["logits"], expected)

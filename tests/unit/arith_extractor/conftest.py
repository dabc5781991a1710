"""A small LM that solves some problems and not others, trained for a second."""

from __future__ import annotations

import pytest
import torch
from transformers import OPTConfig, OPTForCausalLM

from arith_shared.problems import encode, sample
from arith_shared.specs import Spec, parse_spec


@pytest.fixture(scope="session")
def spec() -> Spec:
    """Equation 1 with numbers so small that an LM is right by luck now and then."""
    return parse_spec(
        {
            "task": {"max_number": 4, "names": 5},
            "lm": {"layers": 2, "heads": 2, "width": 16, "ffn": 32},
            "extract": {"batch_problems": 8},
            "seed": 3,
        }
    )


@pytest.fixture(scope="session")
def lm(spec: Spec) -> OPTForCausalLM:
    """An OPT in eval mode that has learnt that the answer is a number, followed by EOS."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = OPTForCausalLM(config_of(spec))
        fit(model, spec)
    return model.eval()


def config_of(spec: Spec) -> OPTConfig:
    vocabulary = spec.task.evaluation().vocabulary
    return OPTConfig(
        vocab_size=vocabulary.size,
        hidden_size=spec.lm.width,
        word_embed_proj_dim=spec.lm.width,
        num_hidden_layers=spec.lm.layers,
        num_attention_heads=spec.lm.heads,
        ffn_dim=spec.lm.ffn,
        max_position_embeddings=64,
        dropout=0.0,
        init_std=0.2,
        pad_token_id=vocabulary.pad,
        bos_token_id=vocabulary.eos,
        eos_token_id=vocabulary.eos,
    )


def fit(model: OPTForCausalLM, spec: Spec, steps: int = 60) -> None:
    distribution = spec.task.evaluation()
    encoded = encode(sample(distribution, "train", 0, 512, spec.seed), distribution)
    ids = torch.from_numpy(encoded.ids)
    outputs = ids.shape[1] - int(encoded.question_length[0])
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-2)
    for step in range(steps):
        batch = ids[step * 64 % 512 :][:64]
        logits = model(batch[:, :-1], logits_to_keep=outputs).logits
        loss = torch.nn.functional.cross_entropy(logits.flatten(0, 1), batch[:, -outputs:].flatten())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()

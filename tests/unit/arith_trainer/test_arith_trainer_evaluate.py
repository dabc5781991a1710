"""Accuracy is the share of problems that greedy generation gets exactly right."""

from __future__ import annotations

import pytest
import torch

from arith_model.transformer import build_for
from arith_shared.problems import encode, sample
from arith_trainer import evaluate
from arith_trainer.batches import Batches
from arith_trainer.evaluate import accuracy
from arith_trainer.joined import solved_texts
from arith_trainer.loop import batch_loss

CPU = torch.device("cpu")


def generated_right(model, encoded) -> int:
    """How many texts plain greedy generation reproduces, EOS included, one problem at a time."""
    right = 0
    for row, question, length in zip(encoded.ids, encoded.question_length, encoded.length, strict=True):
        prompt = torch.from_numpy(row[None, :question])
        found = model.generate(
            prompt,
            attention_mask=torch.ones_like(prompt),
            do_sample=False,
            max_new_tokens=int(length - question),
        )
        right += found[0].tolist() == row[:length].tolist()
    return right


@pytest.fixture(scope="module", params=[{"training": "general"}, {"chain": "short"}], ids=str)
def case(request, spec_with):
    """An experiment with problems to train on and to evaluate: of mixed lengths, or with long outputs."""
    spec = spec_with(task={"max_number": 2, "names": 3, **request.param})
    distribution = spec.task.training_distribution()

    def encoded(split, count):
        return encode(sample(distribution, split, 0, count, 0), distribution, spec.task.chain)

    return spec, encoded("train", 256), encoded("valid", 40)


@pytest.fixture(scope="module")
def model(case):
    """An LM that is right now and then."""
    spec, training_set, _ = case
    model = build_for(spec)
    batches = Batches(solved_texts(training_set, whole_text=False), batch_tokens=1500, epochs=12, seed=0)
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-2)
    for step in range(batches.steps):
        optimizer.zero_grad()
        batch_loss(model, batches[step]).backward()
        optimizer.step()
    return model.eval()


def test_it_equals_exact_match_of_greedy_generation(model, case):
    _, _, encoded = case
    right = generated_right(model, encoded)
    assert 3 < right < len(encoded.ids) - 3
    assert accuracy(model, encoded, CPU) == right / len(encoded.ids)


def test_the_size_of_a_batch_changes_nothing(model, case, monkeypatch):
    _, _, encoded = case
    expected = accuracy(model, encoded, CPU)
    for tokens in (1, 7 * encoded.ids.shape[1]):
        monkeypatch.setattr(evaluate, "_BATCH_TOKENS", tokens)
        assert accuracy(model, encoded, CPU) == expected


def test_dropout_is_off_meanwhile_and_back_on_afterwards(model, case):
    _, _, encoded = case
    expected = accuracy(model, encoded, CPU)
    try:
        model.train()
        for layer in model.model.decoder.layers:
            layer.dropout = 0.9
        assert accuracy(model, encoded, CPU) == expected
        assert model.training
    finally:
        model.eval()


class Oracle(torch.nn.Module):
    """Predicts the token that follows in `texts`, except at `blind` places."""

    def __init__(self, texts, blind):
        super().__init__()
        self.texts, self.blind = texts, blind

    def forward(self, input_ids, use_cache):
        following = self.texts[:, 1:].clone()
        for place in self.blind:
            following[place] += 1
        return type("Output", (), {"logits": torch.nn.functional.one_hot(following, 1000).float()})


def test_one_wrong_token_of_the_output_loses_the_problem_and_one_of_the_question_does_not(case):
    _, _, encoded = case
    texts, count = torch.from_numpy(encoded.ids), len(encoded.ids)
    question, length = int(encoded.question_length[0]), int(encoded.length[0])
    blind = {
        (): 1.0,
        ((0, 0), (1, 0)): 1.0,
        ((0, question - 1),): 1 - 1 / count,
        ((0, length - 2),): 1 - 1 / count,
        ((0, question - 1), (0, length - 2)): 1 - 1 / count,
    }
    for places, expected in blind.items():
        assert accuracy(Oracle(texts, places), encoded, CPU) == pytest.approx(expected), places

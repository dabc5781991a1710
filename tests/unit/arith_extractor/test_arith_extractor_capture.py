"""One pass over gold text gives what generating that text step by step gives."""

from __future__ import annotations

import pytest
import torch
from transformers import OPTForCausalLM

from arith_extractor.capture import capture
from arith_extractor.verdict import solved

QUESTION = 9
OUTPUTS = 6


@pytest.fixture(scope="module")
def generated(lm):
    """What the LM itself goes on with after random questions, step by step."""
    generator = torch.Generator().manual_seed(1)
    questions = torch.randint(2, lm.config.vocab_size, (12, QUESTION), generator=generator)
    return generate(lm, questions)


def generate(lm: OPTForCausalLM, questions: torch.Tensor):
    # No token ends the text: it has the length of the gold text whatever the LM says.
    return lm.generate(
        questions,
        attention_mask=torch.ones_like(questions),
        do_sample=False,
        max_new_tokens=OUTPUTS,
        eos_token_id=None,
        pad_token_id=0,
        output_hidden_states=True,
        return_dict_in_generate=True,
    )


def corrupted(sequences: torch.Tensor) -> torch.Tensor:
    """Row 0 as it is, then a row for each place of the output in which that token is another; the rest as is."""
    changed = sequences.clone()
    for row in range(1, OUTPUTS + 1):
        place = QUESTION + row - 1
        changed[row, place] = 3 if changed[row, place] == 2 else 2
    return changed


def test_the_verdict_is_that_of_greedy_decoding(lm, generated):
    gold = corrupted(generated.sequences)
    captured = capture(lm, gold, QUESTION, [0], range(QUESTION))
    greedy = (generated.sequences == gold).all(dim=1)
    assert int(greedy.sum()) == len(gold) - OUTPUTS
    assert solved(captured.predicted, gold, QUESTION).tolist() == greedy.tolist()


def test_the_states_are_those_of_generation_at_every_layer_and_position(lm, generated):
    positions = QUESTION + OUTPUTS - 1
    layers = range(lm.config.num_hidden_layers + 1)
    states = capture(lm, generated.sequences, QUESTION, layers, range(positions)).states
    # Each step of a generation reports the positions that it has read: first the question, then one by one.
    expected = torch.stack([torch.cat(steps, dim=1) for steps in zip(*generated.hidden_states, strict=True)])
    torch.testing.assert_close(states, expected, rtol=1e-4, atol=1e-4)


def test_only_the_layers_and_positions_asked_for_are_kept(lm, generated):
    everything = capture(lm, generated.sequences, QUESTION, [0, 1, 2], range(12)).states
    some = capture(lm, generated.sequences, QUESTION, [2, 0], range(5)).states
    torch.testing.assert_close(some, everything[[2, 0]][:, :, :5], rtol=0, atol=0)


def test_the_last_layer_is_after_the_final_norm_and_the_others_are_not(lm, generated):
    seen = {}
    decoder = lm.model.decoder
    blocks = [
        block.register_forward_hook(lambda _, __, output, name=name: seen.update({name: output}))
        for name, block in enumerate([*decoder.layers, decoder.final_layer_norm], start=1)
    ]
    states = capture(lm, generated.sequences, QUESTION, [1, 2], range(QUESTION)).states
    for block in blocks:
        block.remove()
    assert torch.equal(states[0], seen[1][:, :QUESTION])
    assert torch.equal(states[1], seen[3][:, :QUESTION])
    assert not torch.allclose(states[1], seen[2][:, :QUESTION])


def test_what_follows_a_position_does_not_change_its_state(lm, generated):
    other = generated.sequences.clone()
    other[:, QUESTION:] = 2
    one, two = (
        capture(lm, ids, QUESTION, [2], range(QUESTION)).states for ids in (generated.sequences, other)
    )
    torch.testing.assert_close(one, two, rtol=0, atol=0)


def test_the_other_problems_of_a_batch_do_not_change_a_state(lm, generated):
    mixed = generated.sequences.clone()
    mixed[1:] = mixed[1:].flip(0)
    one, two = (
        capture(lm, ids, QUESTION, [2], range(QUESTION)).states for ids in (generated.sequences, mixed)
    )
    assert torch.equal(one[:, 0], two[:, 0])

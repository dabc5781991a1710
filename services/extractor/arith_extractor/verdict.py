"""Did the LM solve a problem? Yes if greedy decoding would produce exactly the gold output, chain and all.

Greedy decoding repeats one step: the most likely token given all before it. If that token equals the gold
one at every place given the gold ones before it, then by induction decoding produces the gold output; at
the first place where it does not, decoding leaves the gold output. EOS is part of it: an LM that goes on
after the answer has written something else.
"""

from __future__ import annotations

from torch import Tensor


def solved(predicted: Tensor, ids: Tensor, question_length: int) -> Tensor:
    """bool[problem], from predictions int64[problem, output] and gold int64[problem, token]."""
    gold = ids[:, question_length:]
    if predicted.shape != gold.shape:
        raise ValueError(
            f"expected a prediction for each of {list(gold.shape)}, found {list(predicted.shape)}"
        )
    return (predicted == gold).all(dim=1)

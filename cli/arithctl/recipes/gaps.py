"""Where the paper is silent, what we decided, and which fields of a recipe hold the decision.

The letters are those of the comments in `arith_shared.specs`. A field of another kind of LM than the recipe's
is simply not there.
"""

from __future__ import annotations

from typing import NamedTuple


class Gap(NamedTuple):
    """One question that the paper leaves open."""

    letter: str
    question: str
    resolution: str
    fields: tuple[str, ...]


GAPS = (
    Gap(
        "a",
        "Is `12` one token or two?",
        "One: each number has its own embedding. `digit` spells numbers, with zeros in front so that all have "
        "equally many tokens, and reads a number at its last digit. With max_number 9 digits and numbers are the "
        "same; a pretrained LM keeps its own tokenizer.",
        ("task.number_tokens", "task.max_number", "lm.number_embeddings", "lm.path"),
    ),
    Gap(
        "b",
        "May values leave the range of the numbers, or be negative?",
        "No: problems with any value or intermediate outside 0 to max_number are rejected. `unrestricted` keeps "
        "them; then C correlates at .89 with its first operand and sign alone.",
        ("task.values", "task.max_number"),
    ),
    Gap(
        "c",
        "How much of a correlation is there without computing anything?",
        "Every score stands beside the exact ceiling of the tokens read so far, a control on shuffled values and, "
        "on request, the untrained LM.",
        ("probe.controls", "probe.untrained"),
    ),
    Gap(
        "d",
        "Does the evaluated text say `A=1+B` or `A=B+1`?",
        "Number first, always; general training draws both.",
        ("task.layout",),
    ),
    Gap(
        "e",
        "How are random combinations of at most three formulas drawn?",
        "All 42 sequences of the four forms are equally likely, shown in any order, with any variable asked for; "
        "or a length first, then a sequence of it.",
        ("task.training", "task.lengths"),
    ),
    Gap(
        "f",
        "In which order do the evaluated formulas stand?",
        "A before B, which it needs, and C last; the levels are other layouts, level-2 in the order of computation.",
        ("task.layout",),
    ),
    Gap(
        "g",
        "Which variable names?",
        "The first 25 lower-case letters, no two alike in a problem.",
        ("task.names",),
    ),
    Gap(
        "h",
        "May a problem be both trained and evaluated on?",
        "Never: a text's hash decides which split it may be in, for all splits and the demonstrations.",
        ("lm.training.problems", "extract.n_train", "extract.n_eval", "lm.prompt.demonstrations"),
    ),
    Gap(
        "i",
        "Which tokens are probed?",
        "All of the question, and of the chain where there is one; neither demonstrations nor the end of sequence.",
        ("extract.positions", "task.chain"),
    ),
    Gap(
        "j",
        "What is layer 0, and what is the last one?",
        "The embedding output, and the last block after the final norm.",
        ("extract.layers",),
    ),
    Gap(
        "k",
        "Which width of the feed-forward layer, which head, which positions?",
        "Four times the width; the head is not tied, since the embeddings are frozen; learned positions are trained.",
        (
            "lm.ffn",
            "lm.tie_head",
            "lm.freeze_embeddings",
            "lm.attention_dropout",
            "lm.init_std",
            "lm.position_std",
        ),
    ),
    Gap(
        "l",
        "Adam, or AdamW with decay?",
        "Adam without decay, as table 2 says.",
        ("lm.training.optimizer", "lm.training.weight_decay"),
    ),
    Gap("m", "Which tokens carry loss?", "The output and the end of sequence.", ("lm.training.loss",)),
    Gap(
        "n",
        "What counts towards a batch of 16,384 tokens?",
        "Question, output and padding; the order is drawn anew in each epoch.",
        ("lm.training.batch_tokens",),
    ),
    Gap(
        "o",
        "When is a problem solved?",
        "When greedy decoding gives exactly the gold output, with a chain the whole chain.",
        ("extract.criterion", "extract.keep"),
    ),
    Gap(
        "p",
        "What ends an output?",
        "A token of its own for LMs trained here on the problem language; a newline for LMs that read plain text.",
        ("lm.kind",),
    ),
    Gap(
        "q",
        "Which demonstrations, and how are they written?",
        "The first of a fixed pool, the same before every problem, tokens apart; other seeds take others.",
        ("lm.prompt.demonstrations", "lm.prompt.demonstration_seed", "lm.prompt.spacing"),
    ),
    Gap(
        "r",
        "Does the chain restate a formula before it puts a value in?",
        "Not in `short`, the paper's equation 3; `backtrack` does. Operands stay in the order of the definition.",
        ("task.chain",),
    ),
    Gap(
        "s",
        "Are unsolved problems left out of the evaluation too?",
        "Yes, and n is reported. `solved_to_fit` leaves them out of the fitting only, `all` of neither.",
        ("extract.keep",),
    ),
    Gap(
        "t",
        "What if fewer than 10,000 problems are solved?",
        "More are tried until there are enough, up to a limit.",
        ("extract.n_train", "extract.max_tries"),
    ),
    Gap(
        "u",
        "How does the probe start, are its inputs scaled, what if it diverges?",
        "PyTorch's default, nothing is scaled, and a diverged probe has a status instead of a number; ridge, in "
        "closed form, stands beside it.",
        ("probe.families", "probe.mlp.epochs", "probe.mlp.lr", "probe.ridge.penalties"),
    ),
    Gap(
        "v",
        "Which Mistral?",
        "Mistral 7B, version 0.1; any causal LM by name or folder.",
        ("lm.path", "lm.kind"),
    ),
    Gap(
        "w",
        "What separates the question from the formulas, and how does it end?",
        "A semicolon; `A=` without a chain, `A=?` before one.",
        ("task.separator", "task.question"),
    ),
)


def letters(field: str) -> str:
    """The gaps that `field` decides: ``a, b``."""
    return ", ".join(gap.letter for gap in GAPS if field in gap.fields)

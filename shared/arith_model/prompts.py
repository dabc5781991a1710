"""Problems as the LM reads them: token ids, and at which token each position of ours is complete.

    P  problem    N  token    Q  position: a token of question or output, by role, whatever the tokenizer makes of it

The state at a position is that of the token that completes its characters: the last of several where a number is
split, the same one for two where signs are merged (``=?``). A token that reaches into a later token of ours which
differs from problem to problem (``=5``) would make the state at ``=`` know what has not been read yet, so such
tokenizations are refused. So are problems of different numbers of tokens, unless the spec wants them passed through
the LM in groups: nothing is ever padded, so nothing can shift.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from arith_shared.errors import PromptError
from arith_shared.problems import (
    Encoded,
    Line,
    Problems,
    demonstrations,
    encode,
    last_tokens,
    lines,
    output_tokens,
    question_tokens,
)

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast

    from arith_shared.specs import Spec

Integers = NDArray[np.int64]

#: Kinds of tokens that every problem of a layout has in common.
_FIXED = "symbol"


@dataclass(frozen=True, slots=True, eq=False)
class Texts:
    """Problems, and what stands before each of them."""

    #: What all problems have before them: the demonstrations, and what the tokenizer puts first. May be empty.
    prefix: tuple[int, ...]
    #: int64[P, N]: question, output and end, right-padded where lengths differ; padding is never read.
    ids: Integers
    #: int64[P]: tokens of the question.
    question_length: Integers
    #: int64[P]: tokens in all.
    length: Integers
    #: int64[P, Q]: the token, counted after the prefix, that completes each position.
    where: Integers

    def groups(self, rows: Integers) -> Iterator[Integers]:
        """Cut `rows` into groups in which tokens correspond to positions alike: no padding is needed in any."""
        shape = np.column_stack([self.question_length[rows], self.length[rows], self.where[rows]])
        _, group = np.unique(shape, axis=0, return_inverse=True)
        for number in range(int(group.max(initial=-1)) + 1):
            yield rows[group == number]


def own_texts(spec: Spec, problems: Problems) -> Texts:
    """Problems for an LM that knows our vocabulary and reads one problem at a time."""
    encoded = encode(problems, spec.task.evaluation(), spec.task.chain)
    length = _common_length(encoded)
    count = len(spec.task.probed_tokens())
    where = np.broadcast_to(
        last_tokens(spec.task.evaluation(), spec.task.chain)[:count], (len(problems), count)
    )
    return Texts((), encoded.ids[:, :length], encoded.question_length, encoded.length, where)


class Prompter:
    """Makes the texts of an LM that has a tokenizer and is shown demonstrations."""

    def __init__(self, spec: Spec, tokenizer: PreTrainedTokenizerFast) -> None:
        """Demonstrations are written once; what is done per problem is left to `texts`."""
        if spec.lm.kind == "opt":
            raise ValueError("an OPT decoder trained here reads one problem at a time")
        prompt = self._prompt = spec.lm.prompt
        self._spec, self._tokenizer = spec, tokenizer
        self._shown = demonstrations(
            spec.task.evaluation(),
            spec.task.chain,
            prompt.spacing,
            count=prompt.demonstrations,
            seed=prompt.demonstration_seed,
        )
        (layout,) = spec.task.evaluation().layouts
        tokens = (*question_tokens(layout), *output_tokens(layout, spec.task.chain))
        self._labels = [token.label for token in tokens]
        self._question = len(question_tokens(layout))
        #: For each position the next one that differs from problem to problem; the last has none.
        self._next_varying = _next_varying([token.kind == _FIXED for token in tokens])
        self._probed = len(spec.task.probed_tokens())

    def texts(self, problems: Problems) -> Texts:
        """Tokenize demonstrations, question, gold output and line break, together as the LM would read them.

        Raises PromptError where a state could not be told to belong to one position, or lengths differ.
        """
        task, prompt = self._spec.task, self._prompt
        written = lines(problems, task.evaluation(), task.chain, prompt.spacing)
        tokens = self._tokenize(written)
        before = int((tokens.ends <= len(self._shown)).sum(axis=1).min())
        self._check_known(tokens, before)
        spans = np.array([line.spans for line in written]) + len(self._shown)
        where = tokens.completing(spans[:, :, 1])
        self._check_complete(tokens, spans, where, written)
        texts = Texts(
            prefix=tuple(tokens.ids[0, :before].tolist()),
            ids=tokens.ids[:, before:],
            question_length=where[:, self._question - 1] + 1 - before,
            length=tokens.count - before,
            where=where[:, : self._probed] - before,
        )
        if (tokens.ids[:, :before] != tokens.ids[0, :before]).any():
            raise PromptError(
                "the LM's tokenizer splits the same demonstrations in different ways; use another LM"
            )
        if prompt.lengths == "equal":
            self._check_equal(texts, written)
        return texts

    def _tokenize(self, written: Sequence[Line]) -> _Tokens:
        encoded = self._tokenizer([self._shown + line.text for line in written], return_offsets_mapping=True)
        rows = []
        for ids, offsets in zip(encoded["input_ids"], encoded["offset_mapping"], strict=True):
            # What a tokenizer puts last, such as an end of its own, is not what the LM should write here.
            count = max(place for place, (start, end) in enumerate(offsets) if end > start) + 1
            rows.append((ids[:count], [end for _, end in offsets[:count]]))
        counts = np.array([len(ids) for ids, _ in rows])
        shape = (len(rows), int(counts.max()))
        tokens = _Tokens(np.zeros(shape, np.int64), np.full(shape, np.iinfo(np.int64).max), counts)
        for row, (ids, ends) in enumerate(rows):
            tokens.ids[row, : len(ids)], tokens.ends[row, : len(ids)] = ids, ends
        return tokens

    def _check_known(self, tokens: _Tokens, before: int) -> None:
        unknown = self._tokenizer.unk_token_id
        used = np.arange(tokens.ids.shape[1]) < tokens.count[:, None]
        used[:, :before] = False
        if unknown is not None and (used & (tokens.ids == unknown)).any():
            raise PromptError(
                "the LM's tokenizer does not know a sign of the problems and writes "
                f"{self._tokenizer.unk_token} for it: use another LM, or other signs (task.separator, task.question)"
            )

    def _check_complete(
        self, tokens: _Tokens, spans: Integers, where: Integers, written: Sequence[Line]
    ) -> None:
        """Every character is covered, the line break too, and no token knows what comes later."""
        rows = np.arange(len(written))
        if (
            tokens.ends[rows, tokens.count - 1] != [len(self._shown) + len(line.text) for line in written]
        ).any():
            raise PromptError(
                "the LM's tokenizer drops the line break that ends an output: the LM could not be told from one that "
                "goes on; use another LM"
            )
        ends = tokens.ends[rows[:, None], where]
        # The last position has no successor; a column beyond all texts stands for it.
        starts = np.column_stack([spans[:, :, 0], np.full(len(rows), np.iinfo(np.int64).max)])
        row, position = np.nonzero(starts[:, self._next_varying] < ends)
        if len(row):
            later = self._labels[self._next_varying[position[0]]]
            compact = self._prompt.spacing == "compact"
            remedy = "set lm.prompt.spacing=spaced" if compact else "use another LM"
            raise PromptError(
                f"the LM's tokenizer joins {self._labels[position[0]]!r} (position {position[0]}) with the {later!r} "
                f"after it in {written[row[0]].text.strip()!r}, so a state there would know what has not been read: "
                f"{remedy}"
            )

    def _check_equal(self, texts: Texts, written: Sequence[Line]) -> None:
        groups = list(texts.groups(np.arange(len(written))))
        if len(groups) > 1:
            one, two = groups[0][0], groups[1][0]
            raise PromptError(
                f"expected problems of equally many tokens, found {texts.length.min()} to {texts.length.max()}: "
                f"{written[one].text.strip()!r} and {written[two].text.strip()!r} differ; set task.max_number=9 and "
                "task.values=in_range, as the paper does where numbers are split into digits, or "
                "lm.prompt.lengths=mixed to pass each length through the LM on its own (states of one position then "
                "come from different token indices)"
            )


@dataclass(frozen=True, slots=True, eq=False)
class _Tokens:
    """What the tokenizer makes of whole texts, demonstrations included."""

    #: int64[P, N], right-padded with 0.
    ids: Integers
    #: int64[P, N]: the character after each token; padding lies beyond all texts.
    ends: Integers
    #: int64[P]
    count: Integers

    def completing(self, characters: Integers) -> Integers:
        """int64[P, Q]: the last token that ends at the character, else the first that ends beyond it."""
        found = np.empty_like(characters)
        for row, (ends, wanted) in enumerate(zip(self.ends, characters, strict=True)):
            first = np.searchsorted(ends, wanted, side="left")
            last = np.searchsorted(ends, wanted, side="right") - 1
            found[row] = np.maximum(first, last)
        return found


def _next_varying(fixed: Sequence[bool]) -> Integers:
    """int64[Q]: the next position that is not fixed, or the number of positions where there is none."""
    found = np.full(len(fixed), len(fixed))
    for position in range(len(fixed) - 2, -1, -1):
        found[position] = found[position + 1] if fixed[position + 1] else position + 1
    return found


def _common_length(encoded: Encoded) -> int:
    """Tokens of every problem; ValueError unless all have equally many of every kind."""
    lengths = {*zip(encoded.question_length.tolist(), encoded.length.tolist(), strict=True)}
    if len(lengths) != 1:
        raise ValueError(
            f"expected problems of one length, found (question, all) tokens {sorted(lengths)}: "
            "texts are never padded, so extract one layout at a time"
        )
    return int(encoded.length[0])

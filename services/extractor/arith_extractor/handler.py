"""A range of problems to a shard of hidden states. Glue only."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from arith_extractor.capture import Captured, capture, last_layer
from arith_extractor.decode import PATIENCE, answers, greedy
from arith_extractor.halves import fits_half, half_bits
from arith_extractor.lms import Lm, open_lm
from arith_extractor.overlap import Behind
from arith_extractor.verdict import solved
from arith_model.devices import device_name
from arith_model.prompts import Texts
from arith_shared.problems import Problems, question_tokens, sample, texts
from arith_shared.store.states import ProblemTable, ShardWriter
from arith_shared.vitals import VITALS
from arith_shared.work import Context, Outcome, Progress, Unit

if TYPE_CHECKING:
    from arith_shared.specs import Spec


def handle(spec: Spec, unit: Unit, context: Context) -> Outcome:
    """Write the hidden states of problems `start` to `start + count` of the payload's split.

    Raises HalfPrecisionError when a state does not fit into `extract.dtype`, PromptError when the LM's tokenizer
    does not let states be told apart by position.
    """
    (artifact,) = context.inputs["train"]
    weights, split, start, count = (unit.payload[name] for name in ("weights", "split", "start", "count"))
    # An LM before training solves next to nothing: as a control it is read on all problems.
    keep_all = spec.extract.keeps_all(split) or weights == "untrained"
    problems = sample(spec.task.evaluation(), split, start, count, seed=spec.seed)
    context.progress(0, count, "problems", "opening the LM")
    lm = open_lm(artifact, spec, weights)
    question = len(question_tokens(spec.task.evaluation().layouts[0]))
    meta = {
        # Untrained weights follow from the spec, whatever model was trained from them.
        "model": artifact.digest if weights == "trained" else weights,
        "weights": weights,
        "split": split,
        "keep": "all" if keep_all else "solved",
        "last_layer": last_layer(lm.model),
        # The first position that the LM would write itself.
        "question_positions": str(question),
    }
    labels = [token.label for token in spec.task.probed_tokens()]
    # Layer 0 is the embedding output, so there is one more than blocks.
    layers = _chosen(unit.payload.get("layers", spec.extract.layers), lm.model.config.num_hidden_layers + 1)
    positions = _chosen(spec.extract.positions, len(labels))
    prepared = lm.texts(spec, problems)
    with ShardWriter(
        context.output,
        layers,
        [labels[position] for position in positions],
        lm.model.config.hidden_size,
        spec.extract.dtype,
        spec.task.evaluation().layouts[0].variables,
        meta,
        positions if spec.extract.positions is not None else None,
    ) as writer:
        extraction = _Extraction(spec, lm, problems, prepared, layers, positions, keep_all, writer)
        table = _problem_table(spec, problems, extraction.run(context.progress), keep_all)
        writer.finish(table)
    return Outcome(
        meta={
            "weights": weights,
            "split": split,
            "start": start,
            "tried": count,
            "solved": int(table.solved.sum()),
            "kept": int(table.kept.sum()),
            "layers": list(layers),
            "width": lm.model.config.hidden_size,
            "device": device_name(lm.model.device),
        }
    )


@dataclass(frozen=True, slots=True)
class _Extraction:
    """What stays the same from batch to batch."""

    spec: Spec
    lm: Lm
    problems: Problems
    texts: Texts
    layers: tuple[int, ...]
    positions: tuple[int, ...]
    keep_all: bool
    writer: ShardWriter

    def run(self, progress: Progress) -> NDArray[np.bool_]:
        """Pass all problems through the LM, batch by batch; bool[problem]: which it solved."""
        count, size = len(self.problems), self.spec.extract.batch_problems
        verdicts = np.zeros(count, bool)
        with Behind(self.lm.model.device) as behind:
            for start in range(0, count, size):
                rows = np.arange(start, min(start + size, count))
                verdicts[rows] = self._batch(rows, behind)
                done = int(rows[-1]) + 1
                progress(done, count, "problems", f"{verdicts[:done].mean():.1%} solved")
        return verdicts

    def _batch(self, rows: NDArray[np.int64], behind: Behind) -> NDArray[np.bool_]:
        verdict = np.zeros(len(rows), bool)
        shape = (len(self.layers), len(rows), len(self.positions), self.lm.model.config.hidden_size)
        bits = np.empty(shape, np.uint16)
        for group in self.texts.groups(rows):
            captured, right = self._group(group)
            places = group - rows[0]
            verdict[places] = right
            kept = np.flatnonzero(right | self.keep_all)
            behind.submit(partial(self._round, captured.states, kept, bits, places[kept]))
        behind.submit(lambda: self.writer.add_bits(bits if self.keep_all else bits[:, verdict]))
        return verdict

    def _round(
        self, states: Tensor, kept: NDArray[np.int64], bits: NDArray[np.uint16], places: NDArray[np.int64]
    ) -> None:
        """Put the `kept` of [layer, problem, position, width] at their `places` in `bits`.

        Raises HalfPrecisionError where a state does not fit.
        """
        if len(kept) < states.shape[1]:
            states = states[:, torch.from_numpy(kept).to(states.device)]
        if not fits_half(states, self.spec.extract.dtype):
            self.writer.check(states.float().cpu().numpy())
        bits[:, places] = half_bits(states, self.spec.extract.dtype)

    def _group(self, rows: NDArray[np.int64]) -> tuple[Captured, NDArray[np.bool_]]:
        """Texts of one shape: one pass for states and verdicts, and decoding where the final answer decides."""
        question, length = (
            int(lengths[rows[0]]) for lengths in (self.texts.question_length, self.texts.length)
        )
        ids = torch.from_numpy(self.texts.ids[rows, :length]).to(self.lm.model.device)
        prefix = self.lm.prefix(self.texts.prefix)
        where = self.texts.where[rows[0], list(self.positions)].tolist()
        captured = capture(self.lm.model, ids, question, self.layers, where, prefix)
        VITALS.tokens += ids.numel()
        verdict: NDArray[np.bool_] = solved(captured.predicted, ids, question).cpu().numpy()
        other = np.flatnonzero(~verdict)
        if self.spec.extract.criterion == "answer" and len(other) and self.lm.tokenizer is not None:
            questions, end = ids[other, :question], int(ids[0, -1])
            outputs = greedy(self.lm.model, questions, prefix, PATIENCE * (length - question), end)
            task = self.spec.task
            gold = texts(self.problems[rows[other]], task.evaluation(), task.chain)
            found = answers(self.lm.tokenizer, outputs)
            verdict[other] = [
                text == output.rpartition("=")[2] for text, (_, output) in zip(found, gold, strict=True)
            ]
        return captured, verdict


def _chosen(wanted: Sequence[int] | None, there: int) -> tuple[int, ...]:
    """In order and once each; all of them unless some are wanted."""
    return tuple(range(there)) if wanted is None else tuple(sorted({*wanted}))


def _problem_table(
    spec: Spec, problems: Problems, verdicts: NDArray[np.bool_], keep_all: bool
) -> ProblemTable:
    written = texts(problems, spec.task.evaluation(), spec.task.chain)
    return ProblemTable(
        index=problems.index,
        solved=verdicts,
        kept=verdicts | keep_all,
        values=problems.values,
        text=[question + output for question, output in written],
    )

"""A range of problems to a shard of hidden states. Glue only."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from arith_extractor.capture import LAST_LAYER, capture
from arith_extractor.verdict import solved
from arith_model.devices import choose_device, device_name
from arith_model.transformer import build_for, load_model
from arith_shared.problems import Encoded, Problems, encode, probed_tokens, sample, texts
from arith_shared.store.states import ProblemTable, ShardBuilder
from arith_shared.vitals import VITALS
from arith_shared.work import Artifact, Context, Outcome, Progress, Unit

if TYPE_CHECKING:
    from transformers import PreTrainedModel

    from arith_shared.specs import Spec

#: The model of this process's last shard, by digest, weights and precision: the next one is nearly always of the same
#: run. At most one is held, since two large LMs would not fit on one device.
_held: dict[tuple[str, str, str], PreTrainedModel] = {}


def handle(spec: Spec, unit: Unit, context: Context) -> Outcome:
    """Write the hidden states of problems `start` to `start + count` of the payload's split.

    Raises HalfPrecisionError when a state does not fit into `extract.dtype`.
    """
    (artifact,) = context.inputs["train"]
    weights, split, start, count = (unit.payload[name] for name in ("weights", "split", "start", "count"))
    # An LM before training solves next to nothing: as a control it is read on all problems.
    keep_all = spec.extract.keep == "all" or weights == "untrained"
    problems = sample(spec.task.evaluation(), split, start, count, seed=spec.seed)
    model = _model(artifact, spec, weights)
    extraction = _Extraction.of(spec, model, count, keep_all)
    table = _problem_table(spec, problems, extraction.run(problems, context.progress), keep_all)
    meta = {
        # Untrained weights follow from the spec, whatever model was trained from them.
        "model": artifact.digest if weights == "trained" else weights,
        "weights": weights,
        "split": split,
        "keep": "all" if keep_all else "solved",
        "last_layer": LAST_LAYER,
    }
    extraction.builder.write(context.output, table, meta)
    return Outcome(
        meta={
            "weights": weights,
            "split": split,
            "start": start,
            "tried": count,
            "solved": int(table.solved.sum()),
            "kept": int(table.kept.sum()),
            "layers": list(extraction.layers),
            "width": extraction.model.config.hidden_size,
            "device": device_name(extraction.model.device),
        }
    )


@dataclass(frozen=True, slots=True)
class _Extraction:
    """What stays the same from batch to batch."""

    spec: Spec
    model: PreTrainedModel
    layers: tuple[int, ...]
    positions: int
    keep_all: bool
    builder: ShardBuilder

    @classmethod
    def of(cls, spec: Spec, model: PreTrainedModel, capacity: int, keep_all: bool) -> _Extraction:
        (layout,) = spec.task.evaluation().layouts
        labels = [token.label for token in probed_tokens(layout, spec.task.chain)]
        wanted = spec.extract.layers
        # Layer 0 is the embedding output, so there is one more than blocks.
        layers = (
            tuple(range(model.config.num_hidden_layers + 1)) if wanted is None else tuple(sorted({*wanted}))
        )
        width = model.config.hidden_size
        builder = ShardBuilder(layers, labels, width, capacity, spec.extract.dtype, layout.variables)
        return cls(spec, model, layers, len(labels), keep_all, builder)

    def run(self, problems: Problems, progress: Progress) -> NDArray[np.bool_]:
        """Pass all problems through the LM, batch by batch; bool[problem]: which it solved."""
        encoded = encode(problems, self.spec.task.evaluation(), self.spec.task.chain)
        question_length = _common_length(encoded)
        ids = torch.from_numpy(encoded.ids)
        verdicts = np.zeros(len(problems), bool)
        progress(0, len(problems), "problems")
        for start in range(0, len(problems), self.spec.extract.batch_problems):
            rows = slice(start, start + self.spec.extract.batch_problems)
            verdicts[rows] = self._batch(ids[rows].to(self.model.device), question_length)
            done = min(rows.stop, len(problems))
            progress(done, len(problems), "problems", f"{verdicts[:done].mean():.1%} solved")
        return verdicts

    def _batch(self, ids: Tensor, question_length: int) -> NDArray[np.bool_]:
        captured = capture(self.model, ids, question_length, self.layers, self.positions)
        verdict = solved(captured.predicted, ids, question_length)
        states = captured.states if self.keep_all else captured.states[:, verdict]
        self.builder.add(states.float().cpu().numpy())
        VITALS.tokens += ids.numel()
        return verdict.cpu().numpy()


def _model(artifact: Artifact, spec: Spec, weights: str) -> PreTrainedModel:
    precision: str = spec.extract.precision
    name = (artifact.digest, weights, precision)
    if name not in _held:
        _held.clear()
        dtype, device = getattr(torch, precision), choose_device()
        _held[name] = (
            load_model(artifact.path, dtype, device)
            if weights == "trained"
            else build_for(spec).to(device=device, dtype=dtype).eval()
        )
    return _held[name]


def _common_length(encoded: Encoded) -> int:
    """The number of question tokens; ValueError unless all problems have equally many of every kind."""
    lengths = {*zip(encoded.question_length.tolist(), encoded.length.tolist(), strict=True)}
    if len(lengths) != 1:
        raise ValueError(
            f"expected problems of one length, found (question, all) tokens {sorted(lengths)}: "
            "texts are never padded, so extract one layout at a time"
        )
    return int(encoded.question_length[0])


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

"""A complete experiment: the groups together, and what must fit between them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

from pydantic import Discriminator, Field, Tag, model_validator

from arith_shared.problems import lesson_distribution
from arith_shared.specs.groups import ExtractSpec, Frozen, OptSpec, ProbeSpec, TaskSpec
from arith_shared.specs.lm import MistralSpec, PretrainedSpec

Seed = Annotated[int, Field(ge=0, lt=2**63)]


def _kind(value: Any) -> Any:
    """A group that does not say what kind of LM it is means the paper's."""
    return value.get("kind", "opt") if isinstance(value, Mapping) else getattr(value, "kind", "opt")


LmSpec = Annotated[
    Annotated[OptSpec, Tag("opt")]
    | Annotated[MistralSpec, Tag("mistral")]
    | Annotated[PretrainedSpec, Tag("pretrained")],
    Discriminator(
        _kind,
        custom_error_type="unknown_kind",
        custom_error_message="kind must be opt, mistral or pretrained",
    ),
]


class Spec(Frozen):
    """A complete experiment."""

    task: TaskSpec = TaskSpec()
    lm: LmSpec = OptSpec()
    extract: ExtractSpec = ExtractSpec()
    probe: ProbeSpec = ProbeSpec()
    seed: Seed = 0
    """Every random choice follows from it: problems, initialisation, data order, probes, bootstrap."""

    @model_validator(mode="after")
    def _is_possible(self) -> Spec:
        # Building the distributions checks that names and numbers suffice for the layouts.
        self.task.evaluation()
        training = self.task.training_distribution()
        for lesson in () if self.lm.kind == "pretrained" else self.lm.training.course:
            try:
                lesson_distribution(training, lesson)
            except ValueError as error:
                raise ValueError(f"lm.training.course: {error}") from None
        for layer in self.extract.layers or ():
            if layer > self.lm.layers:
                raise ValueError(
                    f"extract.layers names layer {layer}; this LM has layers 0 to {self.lm.layers}"
                )
        last = len(self.task.probed_tokens()) - 1
        for position in self.extract.positions or ():
            if position > last:
                raise ValueError(
                    f"extract.positions names position {position}; this task has positions 0 to {last}"
                )
        if self.task.number_tokens == "digit" and self.lm.kind == "pretrained":
            raise ValueError(
                "task.number_tokens digit is for LMs trained here (lm.kind opt or mistral); a pretrained LM has a "
                "tokenizer of its own, and positions follow it"
            )
        if self.extract.criterion == "answer" and self.lm.kind == "opt":
            raise ValueError(
                "extract.criterion answer needs an LM that is asked in plain text (lm.kind mistral or pretrained)"
            )
        return self

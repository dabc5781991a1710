"""What an experiment is: a frozen, validated, hashable description, and nothing about where it runs."""

from arith_shared.specs.groups import (
    ExtractSpec,
    MlpSpec,
    OptSpec,
    ProbeSpec,
    RidgeSpec,
    TaskSpec,
    TrainingSpec,
)
from arith_shared.specs.lm import MistralSpec, PretrainedSpec, PromptSpec
from arith_shared.specs.parsing import apply_overrides, field_paths, parse_spec
from arith_shared.specs.spec import LmSpec, Spec

__all__ = [
    "ExtractSpec",
    "LmSpec",
    "MistralSpec",
    "MlpSpec",
    "OptSpec",
    "PretrainedSpec",
    "ProbeSpec",
    "PromptSpec",
    "RidgeSpec",
    "Spec",
    "TaskSpec",
    "TrainingSpec",
    "apply_overrides",
    "field_paths",
    "parse_spec",
]

"""Experiments so small that a training takes a tenth of a second."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from arith_model.transformer import build_for
from arith_shared.specs import Spec, parse_spec
from arith_trainer.course import Course
from arith_trainer.evaluate import accuracy
from arith_trainer.lessons import course_of
from arith_trainer.loop import Training

#: 12 steps: 2 epochs of 6 batches, the last of an epoch with 4 problems instead of 12.
SMALL: dict[str, Any] = {
    "task": {"layout": "level-1", "max_number": 3, "names": 4},
    "lm": {
        "layers": 2, "heads": 2, "width": 16, "ffn": 32, "dropout": 0.1,
        "init_std": 0.2, "position_std": 0.3, "embedding_std": 0.5,
        "training": {
            "problems": 64, "epochs": 2, "batch_tokens": 171, "lr": 1e-2, "warmup_steps": 3,
            "evaluate_every": 5, "evaluate_problems": 30, "precision": "float32",
        },
    },
    "seed": 6,
}  # fmt: skip


@pytest.fixture(scope="session")
def spec_with() -> Callable[..., Spec]:
    """The small experiment with other training options, or other fields of `task` and `lm`."""

    def spec_with(
        task: dict[str, Any] | None = None, lm: dict[str, Any] | None = None, **training: Any
    ) -> Spec:
        data = copy.deepcopy(SMALL)
        data["task"].update(task or {})
        data["lm"].update(lm or {})
        data["lm"]["training"].update(training)
        return parse_spec(data)

    return spec_with


@pytest.fixture
def training_of(tmp_path: Path) -> Callable[..., Training]:
    """A fresh training of a spec, with a scratch folder of its own unless one is given."""

    def training_of(spec: Spec, **fields: Any) -> Training:
        options, model = spec.lm.training, build_for(spec)
        course = course_of(
            spec, spec.lm, lambda problems, each: accuracy(model, problems, torch.device("cpu"), each)
        )
        if "validate" in fields:
            lessons = [replace(lesson, validate=fields["validate"]) for lesson in course.lessons]
            course = Course(lessons)
            del fields["validate"]
        defaults = {
            "model": model,
            "course": course,
            "options": options,
            "device": torch.device("cpu"),
            "seed": spec.seed,
            "scratch": tmp_path / f"scratch-{len(list(tmp_path.iterdir()))}",
            "progress": lambda *report: None,
        }
        return Training(**(defaults | fields))

    return training_of

"""A course: which lesson a step belongs to, and that an interruption anywhere changes nothing."""

from __future__ import annotations

import json
import math
from dataclasses import replace

import pytest
import torch

from arith_shared.errors import DrainError, SpecError
from arith_trainer import loop
from arith_trainer.course import Course

TASK = {"training": "general", "max_number": 3, "names": 4, "layout": "level-1"}
#: Few enough problems for lessons of a few steps.
SHORT = {
    "problems": 80, "lesson_problems": 80, "epochs": 1, "batch_tokens": 300, "evaluate_every": 2,
    "course": ["numbers", "sums", "deep"], "questions": "all", "lesson_accuracy": 0.9,
}  # fmt: skip


def with_accuracies(training):
    """Lessons that are learnt at the second look; the last one has no end of its own."""
    training.course = Course(
        [
            replace(lesson, validate=lambda name=lesson.name: known_accuracy(training, name))
            for lesson in training.course.lessons
        ]
    )
    return training


def known_accuracy(training, name):
    return 0.95 if any(line.get("lesson") == name for line in training.log) else 0.3


def names(training):
    return [(line["step"], line["lesson"]) for line in training.log if "lesson" in line]


def test_a_lesson_ends_at_the_look_that_finds_it_learnt_and_the_last_one_trains_to_the_end(
    spec_with, training_of
):
    training = with_accuracies(training_of(spec_with(task=TASK, **SHORT)))
    last = training.course.lessons[-1].batches.steps
    training.run()
    assert names(training)[:7] == [
        (2, "numbers"), (4, "numbers"), (6, "sums"), (8, "sums"), (10, "deep"), (12, "deep"), (14, "all"),
    ]  # fmt: skip
    assert training.step == 12 + last == training.course.steps
    sizes = [lesson.batches.tokens(4) for lesson in training.course.lessons[:3]]
    assert training.course.tokens(training.step) == sum(sizes) + training.course.lessons[-1].batches.tokens(
        last
    )


def test_the_rate_stays_at_its_peak_through_the_lessons_and_falls_in_the_training_set(
    spec_with, training_of, monkeypatch
):
    monkeypatch.setattr(loop, "LOG_EVERY", 1)
    training = with_accuracies(training_of(spec_with(task=TASK, **SHORT)))
    training.run()
    rates = [line["lr"] for line in training.log]
    peak, last = training.options.lr, training.course.lessons[-1].batches.steps
    assert rates[: training.options.warmup_steps] == sorted(rates[: training.options.warmup_steps])
    assert set(rates[training.options.warmup_steps : -last]) == {peak}
    expected = [peak * 0.5 * (1 + math.cos(math.pi * (k + 1) / last)) for k in range(last)]
    assert rates[-last:] == pytest.approx(expected)


def test_a_lesson_that_is_never_learnt_ends_when_all_its_problems_are_read(spec_with, training_of):
    training = training_of(spec_with(task=TASK, **SHORT), validate=lambda: 0.0)
    steps = [lesson.batches.steps for lesson in training.course.lessons]
    training.run()
    assert training.step == sum(steps)
    first = 0
    for lesson, count in zip(training.course.lessons, steps, strict=True):
        found = [step for step, name in names(training) if name == lesson.name]
        assert all(first < step <= first + count for step in found)
        first += count


@pytest.mark.parametrize("cut", [1, 4, 5, 9, 13])
def test_interrupted_in_any_lesson_it_ends_with_the_same_weights_and_log(
    spec_with, training_of, tmp_path, cut
):
    spec = spec_with(task=TASK, **SHORT)
    whole = with_accuracies(training_of(spec))
    whole.run()
    scratch = tmp_path / "shared"

    def drain(done, total, unit, note=""):
        if done == cut:
            raise DrainError

    with pytest.raises(DrainError):
        with_accuracies(training_of(spec, scratch=scratch, progress=drain)).run()
    again = with_accuracies(training_of(spec, scratch=scratch))
    again.run()
    assert json.dumps(again.log) == json.dumps(whole.log)
    for name, weight in whole.model.state_dict().items():
        assert torch.equal(weight, again.model.state_dict()[name])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"course": ["sums", "sums"]}, "must name each lesson once"),
        (
            {"course": ["numbers"]},
            "course: lesson numbers: no layout of the training",
        ),
        ({"questions": "all", "loss": "sequence"}, "questions all with loss sequence"),
    ],
)
def test_what_does_not_go_together_is_refused(spec_with, options, message):
    with pytest.raises(SpecError, match=message):
        spec_with(**options)

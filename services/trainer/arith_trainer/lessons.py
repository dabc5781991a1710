"""A spec to a course: the problems of each lesson, of the whole training set last."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING

from arith_model.seeds import derive_seed
from arith_shared.problems import (
    Distribution,
    Encoded,
    encode,
    every_question,
    lesson_distribution,
    sample,
    sample_definitions,
)
from arith_trainer.batches import Batches
from arith_trainer.branches import branch
from arith_trainer.course import Course, Lesson
from arith_trainer.joined import solved_texts

if TYPE_CHECKING:
    from arith_shared.specs import MistralSpec, OptSpec, Spec

    Trained = OptSpec | MistralSpec

#: The last lesson: the training set itself.
WHOLE = "all"
#: Accuracy on problems, of which each `problems_per_text`-th is asked.
Accuracy = Callable[[Encoded, int], float]


def course_of(spec: Spec, lm: Trained, accuracy: Accuracy) -> Course:
    """The lessons of `lm`, which is the spec's, and the training distribution itself."""
    whole, options = spec.task.training_distribution(), lm.training
    lessons = [(name, lesson_distribution(whole, name), options.lesson_accuracy) for name in options.course]
    return Course(
        [_lesson(spec, lm, accuracy, *each) for each in (*lessons, (WHOLE, whole, options.stop_at_accuracy))]
    )


def _lesson(
    spec: Spec, lm: Trained, accuracy: Accuracy, name: str, part: Distribution, until: float | None
) -> Lesson:
    # Of each text one problem is asked.
    count = lm.training.evaluate_problems * lm.problems_per_text
    held_out = encode(sample(part, "valid", 0, count, spec.seed), part, spec.task.chain)
    validate = partial(accuracy, held_out, lm.problems_per_text)
    return Lesson(name, _batches(spec, lm, name, part), validate, until)


def _batches(spec: Spec, lm: Trained, name: str, part: Distribution) -> Batches:
    options, is_lesson = lm.training, name != WHOLE
    count = options.lesson_problems if is_lesson else options.problems
    make = partial(
        Batches,
        batch_tokens=options.batch_tokens,
        epochs=1 if is_lesson else options.epochs,
        # The order of the whole training set was drawn so before there were lessons.
        seed=derive_seed(spec.seed, "lesson", name) if is_lesson else spec.seed,
    )
    if options.questions == "all":
        definitions = sample_definitions(part, "train", count, spec.seed)
        # The name, and how a question ends: every sign is a token.
        own = 1 + len(spec.task.question)
        texts, branching = branch(*every_question(definitions, part, spec.task.chain), own)
        return make(texts, branching=branching)
    problems = sample(part, "train", 0, count, spec.seed)
    encoded = encode(problems, part, spec.task.chain)
    whole_text = options.loss == "sequence"
    return make(solved_texts(encoded, whole_text=whole_text, problems_per_text=lm.problems_per_text))

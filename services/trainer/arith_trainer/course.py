"""What is read when: lessons one after the other, each until the LM knows it.

Which lesson a step belongs to follows from the accuracies that were measured before it, and these are in the
training log: replaying the log leads to the same lesson, so a resumed training is the uninterrupted one.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from arith_trainer.batches import Batch, Batches


@dataclass(frozen=True, slots=True)
class Lesson:
    """Problems to train on until `until` of their like are solved, or all have been read."""

    name: str
    batches: Batches
    #: Accuracy on validation problems of the lesson.
    validate: Callable[[], float]
    #: Validation accuracy at which it ends; None = once all is read.
    until: float | None = None


@dataclass(slots=True)
class Course:
    """All batches of a training, by step."""

    lessons: Sequence[Lesson]
    #: The first step of each lesson that has begun.
    _firsts: list[int] = field(default_factory=lambda: [0])

    def __getitem__(self, step: int) -> Batch:
        """The batch of step number `step`, which must not lie before the lesson that was reached."""
        self._go_to(step)
        return self.lesson.batches[step - self._firsts[-1]]

    @property
    def lesson(self) -> Lesson:
        """The lesson that was reached."""
        return self.lessons[self._place]

    @property
    def _place(self) -> int:
        return len(self._firsts) - 1

    @property
    def steps(self) -> int:
        """Steps to the end at most: a lesson may end sooner."""
        return self._firsts[-1] + sum(lesson.batches.steps for lesson in self.lessons[self._place :])

    @property
    def last_from(self) -> int:
        """The first step of the last lesson, or past all steps while it has not been reached."""
        return self._firsts[-1] if self._place + 1 == len(self.lessons) else self.steps

    def heard(self, step: int, accuracy: float) -> bool:
        """After `step` steps the lesson's validation accuracy was measured; return whether training is over."""
        self._go_to(step - 1)
        if accuracy < (self.lesson.until or 2.0):
            return False
        if self._place + 1 == len(self.lessons):
            return True
        self._firsts.append(step)
        return False

    def tokens(self, steps: int) -> int:
        """Tokens of the first `steps` steps, as `batch_tokens` counts them."""
        ends = [*self._firsts[1:], steps]
        return sum(
            lesson.batches.tokens(end - first)
            for lesson, first, end in zip(self.lessons, self._firsts, ends, strict=False)
        )

    def _go_to(self, step: int) -> None:
        while self._place + 1 < len(self.lessons) and step - self._firsts[-1] >= self.lesson.batches.steps:
            self._firsts.append(self._firsts[-1] + self.lesson.batches.steps)

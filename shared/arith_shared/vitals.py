"""What only the process that computes can measure, and its heartbeats carry: tokens and GPU memory.

Facts of a process, not of a result: handlers count here whether or not anybody reads it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass


@dataclass(slots=True)
class Vitals:
    """Of one process, since it started."""

    #: Tokens put through an LM, in training and in extraction.
    tokens: int = 0
    #: Reads the largest GPU memory in bytes held at once; set by who chooses a GPU, since only that loads torch.
    read_gpu_bytes: Callable[[], int] | None = None

    @property
    def gpu_bytes(self) -> int | None:
        """The largest GPU memory in bytes held at once; None where no GPU is used."""
        return self.read_gpu_bytes() if self.read_gpu_bytes else None


#: This process's.
VITALS = Vitals()

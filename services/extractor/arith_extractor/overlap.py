"""What is done to a batch's states while the LM reads the next: rounding, the way off the device, laying out, files.

One thread does it, in order, and at most `DEPTH` jobs wait or run, so that memory holds the states of two batches
however many there are. torch and numpy let go of the interpreter in all of it. On a GPU the jobs have a stream of
their own, beside the LM's; they get states that are computed already, since the LM's answers were read before.

Laying out ends with writing: where a batch fills a row group, it goes to the files of its layers.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import nullcontext
from types import TracebackType

import torch

#: Jobs that wait or run: one that rounds a batch's states and one that lays them out.
DEPTH = 2


class Behind:
    """Context manager; jobs run one after the other on a thread that ends with the block.

    A job's error is raised where the next job is handed in, or at the end of the block; the jobs after it are
    dropped. So are those that wait when the block itself raises, as that of a cancelled unit does.
    """

    def __init__(self, device: torch.device) -> None:
        """The thread starts with the first job; `device` is where the states come from."""
        self._thread = ThreadPoolExecutor(1, "behind")
        self._jobs: deque[Future[None]] = deque()
        self._failed = False
        self._stream: torch.cuda.Stream | None = None
        if device.type == "cuda":
            self._stream = torch.cuda.Stream(device)  # type: ignore[no-untyped-call] # torch has no types for it

    def __enter__(self) -> Behind:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            while self._jobs and error is None:
                self._jobs.popleft().result()
        finally:
            self._thread.shutdown(cancel_futures=True)

    def submit(self, job: Callable[[], None]) -> None:
        """Hand in the next job, once there is room for it."""
        while self._jobs and (len(self._jobs) >= DEPTH or self._jobs[0].done()):
            self._jobs.popleft().result()
        self._jobs.append(self._thread.submit(self._do, job))

    def _do(self, job: Callable[[], None]) -> None:
        if self._failed:
            return
        # Until it is done.
        self._failed = True
        with nullcontext() if self._stream is None else torch.cuda.stream(self._stream):
            job()
            # The LM's stream may have the memory of these states for others only when they are no longer read.
            if self._stream is not None:
                self._stream.synchronize()
        self._failed = False

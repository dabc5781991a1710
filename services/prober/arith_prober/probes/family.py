"""What a probe family is: from hidden states and values to predictions of the values."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

#: Called often during a fit; raises InterruptedUnitError when the unit must stop.
Pulse = Callable[[], None]


class Family(Protocol):
    """A way to fit one probe per target on the same hidden states; a new family is one file and one line."""

    @property
    def cheap_targets(self) -> bool:
        """Whether a further target costs next to nothing, so that controls come along with the variables."""

    def fit_predict(
        self,
        X_train: NDArray[np.float32],
        Y_train: NDArray[np.float64],
        X_eval: NDArray[np.float32],
        seeds: Sequence[int],
        pulse: Pulse,
    ) -> NDArray[np.float64]:
        """Fit on float32[train problem, width] and float64[train problem, target]; predict for `X_eval`.

        `seeds` holds one seed per target. Returns float64[evaluation problem, target]; the column of a
        target whose fit diverged is NaN throughout.
        """

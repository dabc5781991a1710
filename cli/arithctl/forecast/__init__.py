"""What a run will cost: counted from its spec, timed by a calibration, and compared with what it took."""

from arithctl.forecast.calibration import Calibration
from arithctl.forecast.counts import peak_bytes, states_bytes, total_bytes
from arithctl.forecast.stages import StageForecast, as_rows, forecast, in_all, measure_rate

__all__ = [
    "Calibration",
    "StageForecast",
    "as_rows",
    "forecast",
    "in_all",
    "measure_rate",
    "peak_bytes",
    "states_bytes",
    "total_bytes",
]

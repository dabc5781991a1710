"""What this machine was found to need: measured by `doctor --calibrate`, kept in a small file, used where it fits.

It fits as long as processor, cores, threads and versions are those it was made with; a GPU is known by the device
that the workers named, and cannot be looked for from here.
"""

from __future__ import annotations

import json
import platform
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import arith_shared
from arith_shared.compute import usable_cores
from arith_shared.settings import Settings
from arithctl import provenance
from arithctl.forecast.rates import Rates
from arithctl.output import replacing

#: Grows when what stands in the file, or how amounts are counted, changes.
VERSION = 2
FILE = "calibration.json"
_REMEDY = "run `arithctl doctor --calibrate` (about a minute)"


@dataclass(frozen=True, slots=True)
class Calibration:
    """Seconds per amount of work on one machine."""

    version: int
    #: When it was made, UTC, and how many seconds that took.
    made: str
    took_s: float
    machine: dict[str, Any]
    #: Workers of the stage `probe`, which share the cores; the other stages have one.
    probers: int
    #: What the workers computed on.
    device: str
    #: Seconds of a run in which no unit is at work: start of broker and workers, and between stages.
    between_s: float
    #: Seconds per amount, by stage and kind of work (`amounts.py`).
    rates: dict[str, Rates]


def machine(settings: Settings) -> dict[str, Any]:
    """What the speed of a machine's workers depends on."""
    versions = provenance.packages()
    return {
        "processor": _processor(),
        "cores": usable_cores(),
        "threads": settings.threads,
        "arithctl": arith_shared.__version__,
        "python": platform.python_version(),
        **{name: versions.get(name) for name in ("numpy", "torch", "transformers")},
    }


def save(calibration: Calibration, settings: Settings) -> Path:
    """Write it whole or not at all; returns where."""
    path = settings.home / FILE
    with replacing(path) as temporary:
        temporary.write_text(json.dumps(asdict(calibration), indent=1) + "\n", encoding="utf-8")
    return path


def load(settings: Settings) -> tuple[Calibration | None, str]:
    """The calibration that holds for the workers of these settings, if any; and why, for people."""
    if not settings.embedded:
        return None, "not calibrated: the work is done by services, which this machine knows nothing of"
    path = settings.home / FILE
    try:
        found = parse(json.loads(path.read_text(encoding="utf-8")))
    except FileNotFoundError:
        return None, f"not calibrated: {_REMEDY}"
    except (OSError, ValueError) as error:
        return None, f"not calibrated: {path} cannot be read ({error}); {_REMEDY}"
    now = machine(settings)
    changed = [
        f"{name} {found.machine.get(name)} then, {value} now"
        for name, value in now.items()
        if found.machine.get(name) != value
    ]
    if changed:
        return (
            None,
            f"not calibrated: {path} is of another machine or version ({'; '.join(changed)}); {_REMEDY}",
        )
    return found, f"calibrated on this machine ({found.device}), {found.made}"


def parse(data: Any) -> Calibration:
    """The calibration of its JSON; ValueError says what was expected."""
    if not isinstance(data, Mapping) or data.get("version") != VERSION:
        raise ValueError(f"expected version {VERSION} of a calibration")
    try:
        found = Calibration(**data)
        for rates in found.rates.values():
            for value in rates.values():
                if not value >= 0:
                    raise ValueError(f"expected seconds per amount, found {value!r}")
    except (TypeError, AttributeError) as error:
        raise ValueError(f"expected the fields of a calibration: {error}") from None
    return found


def _processor() -> str:
    """The processor's name, as far as the system tells."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        lines = []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()

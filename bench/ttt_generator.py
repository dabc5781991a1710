"""Run by a peer's Python: make problems with the generator of keitokudo/TTT, found at a given place.

    PYTHONHASHSEED=0 python ttt_generator.py CHECKOUT COUNT FOLDER

Prints a JSON object with the CPU and wall seconds of the generation alone. None of its code is here: it has no
licence.
"""

from __future__ import annotations

import importlib
import json
import sys
import time
from pathlib import Path

#: A chain of two steps and a value nobody needs: equation 1 of the paper.
CONFIG = "experiments/preprocess/data_configs/probing_train_2step_distractor_config.jsonnet"


def main() -> None:
    """Generate, timing neither imports nor the start of the interpreter."""
    checkout, count, folder = Path(sys.argv[1]), int(sys.argv[2]), Path(sys.argv[3])
    sys.path.insert(0, str(checkout / "src"))
    peer = importlib.import_module("dentaku_dataset_generator")
    generate = peer.DentakuDatasetGenerator("NumericDataGenarator", checkout / CONFIG, count, folder)
    cpu, wall = time.process_time(), time.perf_counter()
    generate()
    sys.stdout.write(json.dumps({"cpu": time.process_time() - cpu, "wall": time.perf_counter() - wall}))


if __name__ == "__main__":
    main()

"""What `bench/gpu.py` measures, a module for each section: its `cases(bench)` are done one after the other.

Nothing here needs more than torch, transformers, numpy, pyarrow and this repository.
"""

#: Sections in their order, and the part of the time that each may take; what one leaves over goes to the next ones.
SECTIONS = {"rates": 1, "training": 4, "extraction": 3, "probes": 3}

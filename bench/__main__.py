"""All benches, one after the other: `python -m bench`, or `make bench`.

Each runs in a process of its own, so that none inherits another's memory or warm caches.
"""

from __future__ import annotations

import subprocess
import sys

from bench.command import parse

#: In the order of the page's interest; each is a module of this package.
BENCHES = ("ridge", "mlp", "store", "chain", "problems", "extract", "training", "whole_run")


def main() -> int:
    """Run all; 1 if one of them failed, after all others were run."""
    parse("python -m bench")
    failed = [
        name
        for name in BENCHES
        if subprocess.run([sys.executable, "-m", f"bench.{name}", *sys.argv[1:]], check=False).returncode
    ]
    if failed:
        sys.stderr.write(f"failed: {', '.join(failed)}\n")
    return min(len(failed), 1)


if __name__ == "__main__":
    sys.exit(main())

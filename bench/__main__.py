"""All benches, one after the other: `python -m bench`, or `make bench`.

Each runs in a process of its own, so that none inherits another's memory or warm caches.
"""

from __future__ import annotations

import subprocess
import sys

from bench import BENCHES
from bench.command import parse


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

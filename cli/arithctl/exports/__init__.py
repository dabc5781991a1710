"""A run as one file: `write` makes it from the ledger and the artifacts, `check` needs nothing but the file."""

from arithctl.exports.check import Finding, check
from arithctl.exports.contents import write

__all__ = ["Finding", "check", "write"]

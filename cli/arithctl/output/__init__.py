"""What the command line prints and writes: rows of results in six formats, and numbers for people."""

from arithctl.output.columns import COLUMNS, TYPES
from arithctl.output.files import replacing
from arithctl.output.human import ago, human_bytes, human_duration, human_rate
from arithctl.output.tables import FORMATS, Format, print_table, write_rows

__all__ = [
    "COLUMNS",
    "FORMATS",
    "TYPES",
    "Format",
    "ago",
    "human_bytes",
    "human_duration",
    "human_rate",
    "print_table",
    "replacing",
    "write_rows",
]

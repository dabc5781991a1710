"""The light contract: importable anywhere, never loads torch."""

__version__ = "0.1.0"

"""Rows: runs, stages, units, attempts, artifacts and scores."""

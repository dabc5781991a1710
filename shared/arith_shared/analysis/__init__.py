"""Rows in, rows out: numpy only."""

"""The probing service."""

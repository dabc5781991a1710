"""Files: artifacts and hidden states."""

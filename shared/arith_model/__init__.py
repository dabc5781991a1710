"""The torch side that the workers share."""

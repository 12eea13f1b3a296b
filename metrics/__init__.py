"""Metrics of generated images: from any image set to a number that can be quoted, with the protocol that made it."""

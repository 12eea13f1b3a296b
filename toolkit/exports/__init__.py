"""Layouts of other programs that a finished data set is written in."""

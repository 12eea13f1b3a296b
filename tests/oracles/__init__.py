"""Slow, plain re-statements of what the papers say, written independently of the product's code."""

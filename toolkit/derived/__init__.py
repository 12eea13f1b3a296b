"""Data sets made from finished ones: converted, merged, appended to, split, extracted."""

"""Presets: one module per preset, with a function ``preset() -> Config`` whose docstring says what to expect."""

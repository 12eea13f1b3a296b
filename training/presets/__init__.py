"""Presets: where the options of a run start from.

A module here has ``PRESETS``, a mapping from the name of a preset to the function that makes its `Config`. The
function's docstring says where the numbers come from and what to expect of the run.
"""

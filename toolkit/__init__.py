"""The ``toolkit`` command: makes, checks and shows data sets. Nothing imports it; it never imports torch."""

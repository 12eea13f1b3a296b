"""The one exception for everything a user can mend."""

from __future__ import annotations


class InputError(ValueError):
    """Something the user gave (a file, a folder, a value) is at fault.

    The message is one line that says what and where it is (file, value), what is allowed and what to do. Command lines
    print it as it is and end with exit code 1; library callers can catch it as a ``ValueError``.
    """

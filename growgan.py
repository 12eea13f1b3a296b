"""Version of the distribution, and a guard against a foreign ``datasets`` package.

``datasets`` and ``metrics`` are common names. Every command imports this module first, so that another package of the
same name in the environment gives one clear line instead of an obscure ImportError.
"""

from importlib.util import find_spec
from pathlib import Path

__version__ = "0.1.0"


def _check_packages() -> None:
    here = Path(__file__).resolve().parent
    for name in ("datasets", "metrics", "toolkit", "training"):
        spec = find_spec(name)
        found = Path(spec.origin).resolve() if spec and spec.origin else None
        if found != here / name / "__init__.py":
            raise SystemExit(
                f"error: the package {name!r} that Python finds is {found}, not growgan's {here / name}; "
                "use growgan in an environment of its own (python -m venv, pip install -e .)"
            )


_check_packages()

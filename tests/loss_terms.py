"""The terms of a loss in one piece."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor

from training.losses import Terms


def together(terms: Terms) -> Terms:
    """Terms with those added that come after them."""
    loss, logs, state = terms.loss, dict[str, Tensor](terms.logs), dict[str, Tensor](terms.state)
    while terms.then is not None:
        terms = terms.then()
        loss = loss + terms.loss
        for mine, further in ((logs, terms.logs), (state, terms.state)):
            _add(mine, further)
    return Terms(loss, logs, state)


def _add(mine: dict[str, Tensor], further: Mapping[str, Tensor]) -> None:
    assert not set(mine) & set(further), "a term is logged twice"
    mine.update(further)

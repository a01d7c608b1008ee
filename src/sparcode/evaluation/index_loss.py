"""What an index loses against exact scores of its own network, and which key gives it back."""

from __future__ import annotations

from dataclasses import dataclass

TOLERATED = 0.01
"""Share of the network's NDCG that an index may lose without a warning."""


@dataclass(frozen=True)
class IndexLoss:
    """NDCG of one network on the same users, with the same crosses.

    Attributes:
        metric: such as ``ndcg@50``.
        index: from the index, or from what it was rescored to.
        complete: from the same codes with complete lists.
        model: exact scores without quantization.
    """

    metric: str
    index: float
    complete: float
    model: float

    @property
    def share(self) -> float:
        """Of the network's NDCG that the index loses; below 0 if it gains."""
        return 1.0 - self.index / self.model if self.model > 0 else 0.0


@dataclass(frozen=True)
class IndexKeys:
    """Values of the keys that decide how much an index loses.

    Attributes:
        top_l: ``index.top_l``.
        cross_top_l: ``crosses.top_l``; None = there are no crosses.
        max_bytes: ``index.max_bytes``.
        probes: ``index.probes``, as chosen.
        codebook_size: ``model.quantizer.codebook_size``.
        rescore: ``eval.rescore``.
    """

    top_l: int
    cross_top_l: int | None
    max_bytes: int
    probes: int
    codebook_size: int
    rescore: int


def index_loss_warning(loss: IndexLoss, keys: IndexKeys) -> str | None:
    """One line with the numbers and the keys, the one that helps most first; None if little is lost."""
    if loss.share <= TOLERATED:
        return None
    by_lists, by_codes = loss.complete - loss.index, loss.model - loss.complete
    lost = f"the index loses {100 * loss.share:.1f} % of the model's own {loss.metric}"
    causes = f"{_share(by_lists, loss)} by cut lists, {_share(by_codes, loss)} by codes"
    remedies = _remedies(keys, by_lists >= by_codes)
    return f"{lost}: {loss.index:.4f}, exact scores {loss.model:.4f} ({causes}); {remedies}"


def _share(lost: float, loss: IndexLoss) -> str:
    return f"{100 * lost / loss.model:.1f} %"


def _remedies(keys: IndexKeys, lists_first: bool) -> str:
    lists = []
    if keys.max_bytes:
        lists.append(f"index.max_bytes ({keys.max_bytes})")
    if keys.top_l:
        lists.append(f"index.top_l ({keys.top_l})")
    if keys.cross_top_l:
        lists.append(f"crosses.top_l ({keys.cross_top_l})")
    rescore = [f"eval.rescore ({keys.rescore or 'off'})"]
    codes = [f"index.probes ({keys.probes})"]
    ordered = [*lists, *rescore, *codes] if lists_first else [*rescore, *codes, *lists]
    return (
        f"raise {', then '.join(ordered)}, or train with more model.quantizer.codebook_size "
        f"({keys.codebook_size})"
    )

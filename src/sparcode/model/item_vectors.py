"""The item vectors of networks whose scores are dot products."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from sparcode.model.block_scorer import ItemPartTable
from sparcode.model.matching import MatchingNetwork


def item_vectors(network: MatchingNetwork) -> NDArray[np.float32]:
    """Vectors of all items, (I + 1, d) float32; row 0 (padding) is zero.

    Args:
        network: a two-tower network, or one that adds up tokens (``AllToAll.adds_tokens``).
    """
    num_items, width = network.tower.num_items, network.tower.width
    table = ItemPartTable(network, num_items)
    table.refresh()
    parts = np.concatenate([block.asnumpy() for block in table.blocks])  # (at least I, d), row 0 = item 1
    return np.concatenate([np.zeros((1, width), np.float32), parts[:num_items]])

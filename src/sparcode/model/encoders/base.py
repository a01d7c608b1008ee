"""What every history encoder offers."""

from __future__ import annotations

from mindspore import Tensor, nn


class HistoryEncoder(nn.Cell):
    """Turns embedded histories into query vectors.

    Histories are right-aligned: the most recent item stands at position L-1 and padding comes first.

    Subclasses implement ``states``: item vectors (S, L, d), mask (S, L) float32 with 1 = item, and
    dropout noise -> (S, L, d), where the state at an item's position p has seen positions 0..p only (states
    at padding are not used). ``last`` may be overridden with a cheaper way to the state at position L-1.
    ``output`` is what remains to be done with a state whatever its position, so that training does it for the
    positions that are queries alone.
    """

    noise_layers = 0
    """Number of (S, L, d) blocks of uint8 dropout noise that one forward pass uses."""

    def states(self, items: Tensor, mask: Tensor, noise: Tensor | None) -> Tensor:
        """Item vectors (S, L, d), mask (S, L), noise (layers, S, L, d) or None -> states (S, L, d)."""
        raise NotImplementedError

    def output(self, states: Tensor) -> Tensor:
        """States (N, d) of any positions -> query vectors (N, d)."""
        return states

    def last(self, items: Tensor, mask: Tensor, noise: Tensor | None) -> Tensor:
        """Query vectors (S, d) of whole histories."""
        return self.output(self.states(items, mask, noise)[:, -1])

"""GRU4Rec encoder (Hidasi et al., ICLR 2016): gated recurrent layers over the history."""

from __future__ import annotations

from typing import Literal

from mindspore import Tensor, nn, ops
from pydantic import Field

from sparcode.config.model_schema import EncoderOptions
from sparcode.config.section import Fraction, Positive
from sparcode.model.encoders.base import HistoryEncoder
from sparcode.model.layers import NoisyDropout


class GRU4RecOptions(EncoderOptions):
    """Recurrent layers over the history."""

    name: Literal["gru4rec"] = "gru4rec"
    num_layers: Positive = Field(1, description="hidden layers, recurrent layers or attention blocks")
    dropout: Fraction = Field(0.0, description="dropout probability, in steps of 1/256")


class GRULayer(nn.Cell):
    """One recurrent layer, unrolled over a fixed length.

    ``nn.GRU`` cannot be exported with a free batch size.

    (S, L, d) and mask (S, L) -> (S, L, d). The hidden state stays zero until the first item.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.from_input = nn.Dense(width, 3 * width)
        self.from_hidden = nn.Dense(width, 3 * width)
        self.width = width

    def construct(self, x: Tensor, mask: Tensor) -> Tensor:
        """(S, L, d), mask (S, L) -> hidden states (S, L, d); padding leaves the state as it is."""
        steps = ops.unstack(self.from_input(x), axis=1)  # L x (S, 3d)
        masks = ops.unstack(ops.expand_dims(mask, -1), axis=1)  # L x (S, 1)
        hidden = ops.zeros_like(ops.split(steps[0], self.width, 1)[0])
        states: tuple[Tensor, ...] = ()
        for step, present in zip(steps, masks):
            input_reset, input_update, input_new = ops.split(step, self.width, 1)
            hidden_reset, hidden_update, hidden_new = ops.split(self.from_hidden(hidden), self.width, 1)
            reset = ops.sigmoid(input_reset + hidden_reset)
            update = ops.sigmoid(input_update + hidden_update)
            new = ops.tanh(input_new + reset * hidden_new)
            proposal = new + update * (hidden - new)
            hidden = hidden + present * (proposal - hidden)
            states = (*states, hidden)
        return ops.stack(states, 1)


class GRU4RecEncoder(HistoryEncoder):
    """Stacked GRU layers, dropout on the input of each.

    Args:
        width: embedding and hidden width d.
        num_layers: recurrent layers.
        dropout: dropout probability.
    """

    def __init__(self, width: int, num_layers: int, dropout: float) -> None:
        super().__init__()
        self.layers = nn.CellList([GRULayer(width) for _ in range(num_layers)])
        self.dropout = NoisyDropout(dropout)
        self.noise_layers = num_layers if dropout > 0 else 0

    def states(self, items: Tensor, mask: Tensor, noise: Tensor | None) -> Tensor:
        """(S, L, d), mask (S, L), noise (layers, S, L, d) or None -> states (S, L, d)."""
        x = items
        noises = () if noise is None else ops.unstack(noise, axis=0)
        for number, layer in enumerate(self.layers):
            if noises:
                x = self.dropout(x, noises[number])
            x = layer(x, mask)
        return x


def build(options: GRU4RecOptions, width: int, length: int) -> GRU4RecEncoder:
    """The encoder of item vectors of a width; histories may have any length."""
    return GRU4RecEncoder(width, options.num_layers, options.dropout)

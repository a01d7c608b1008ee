"""The models of the training benchmark in eager PyTorch: same networks, same names of weights, same loss.

Written as one writes PyTorch: fused layers and losses where the library has them, in-place statistics, Adam
in its fused form. ``load`` takes over the weights of a network of ours, so that both can be checked to agree.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F

from sparcode.config.schema import Config, ModelConfig
from sparcode.model.factory import DataShape
from sparcode.model.quantizer import CHANCE

REMOVED = -1e9


class Dnn(nn.Module):
    """Masked mean of the history, and a perceptron with a residual connection."""

    def __init__(self, width: int, hidden_size: int) -> None:
        super().__init__()
        self.mlp = nn.ModuleDict(
            {"layers": nn.ModuleList([nn.Linear(width, hidden_size), nn.Linear(hidden_size, width)])}
        )

    def forward(self, items: Tensor, history: Tensor, query_index: Tensor) -> Tensor:
        mask = (history > 0).unsqueeze(-1).to(items.dtype)
        pooled = (items * mask).sum(1) / mask.sum(1).clamp(min=1.0)
        first, second = self.mlp["layers"]
        return pooled + second(F.relu(first(pooled)))


class Block(nn.Module):
    """Pre-norm causal self-attention and feed-forward."""

    def __init__(self, width: int, num_heads: int, hidden_size: int, dropout: float) -> None:
        super().__init__()
        self.num_heads, self.dropout = num_heads, dropout
        self.attention_norm = nn.LayerNorm(width, eps=1e-6)
        self.forward_norm = nn.LayerNorm(width, eps=1e-6)
        self.query, self.key, self.value, self.output = (nn.Linear(width, width) for _ in range(4))
        self.expand = nn.Linear(width, hidden_size)
        self.contract = nn.Linear(hidden_size, width)

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        rows, length, width = x.shape
        normed = self.attention_norm(x)
        heads = (
            layer(normed).view(rows, length, self.num_heads, -1).transpose(1, 2)
            for layer in (self.query, self.key, self.value)
        )
        mixed = F.scaled_dot_product_attention(*heads, attn_mask=mask)
        attended = self.output(mixed.transpose(1, 2).reshape(rows, length, width))
        x = x + F.dropout(attended, self.dropout)
        expanded = self.contract(F.relu(self.expand(self.forward_norm(x))))
        return x + F.dropout(expanded, self.dropout)


class SasRec(nn.Module):
    """Positions, blocks, final norm; the states at the chosen places."""

    def __init__(self, config: ModelConfig, length: int) -> None:
        super().__init__()
        encoder, width = config.encoder, config.embedding_size
        self.dropout = encoder.dropout
        self.positions = nn.Parameter(torch.zeros(length, width))
        self.blocks = nn.ModuleList(
            Block(width, encoder.num_heads, encoder.hidden_size, encoder.dropout)
            for _ in range(encoder.num_layers)
        )
        self.final_norm = nn.LayerNorm(width, eps=1e-6)
        self.register_buffer("causal", torch.full((length, length), REMOVED).triu(1), persistent=False)

    def forward(self, items: Tensor, history: Tensor, query_index: Tensor) -> Tensor:
        x = F.dropout(items + self.positions, self.dropout)
        mask = self.causal + (history == 0)[:, None, None] * REMOVED
        for block in self.blocks:
            x = block(x, mask)
        return F.embedding(query_index, self.final_norm(x).flatten(0, 1))


class Quantizer(nn.Module):
    """Product quantization with straight-through gradients and codebooks that follow by moving average."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        options = config.quantizer
        self.size, self.options = options.codebook_size, options
        self.books = config.num_query_tokens * options.num_codebooks
        self.sub_size = config.token_size // options.num_codebooks
        rows = self.books * self.size
        self.register_buffer("codebooks", torch.zeros(rows, self.sub_size))
        self.register_buffer("ema_sums", torch.zeros(rows, self.sub_size))
        self.register_buffer("ema_counts", torch.zeros(rows))
        self.register_buffer("offsets", torch.arange(self.books) * self.size, persistent=False)
        self.register_buffer("owner", torch.arange(self.books).repeat_interleave(self.size), persistent=False)

    def forward(self, tokens: Tensor, quantized_queries: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        with torch.no_grad():
            parts = tokens.view(-1, self.books, self.sub_size).transpose(0, 1)
            books = self.codebooks.view(self.books, self.size, self.sub_size)
            norms = books.square().sum(-1).unsqueeze(1)
            nearest = torch.baddbmm(norms, parts, books.transpose(1, 2), alpha=-2.0).argmin(2)
            rows = (nearest.t() + self.offsets).contiguous()
            quantized = F.embedding(rows, self.codebooks).view_as(tokens)
        error = (tokens - quantized).square().mean((1, 2))
        moved = (quantized - tokens) * quantized_queries.view(-1, 1, 1)
        return tokens + moved.detach(), rows, error

    @torch.no_grad()
    def update(self, tokens: Tensor, rows: Tensor, weights: Tensor, restart_rows: Tensor) -> None:
        options = self.options
        parts = tokens.reshape(-1, self.sub_size)
        share = weights.unsqueeze(1).expand(rows.shape).reshape(-1)
        sums = torch.zeros_like(self.ema_sums).index_add_(0, rows.view(-1), parts * share.unsqueeze(1))
        counts = torch.zeros_like(self.ema_counts).index_add_(0, rows.view(-1), share)
        self.ema_sums.lerp_(sums, 1.0 - options.decay)
        self.ema_counts.lerp_(counts, 1.0 - options.decay)
        by_book = self.ema_counts.view(self.books, self.size)
        mean = by_book.mean(-1, keepdim=True).clamp(min=1e-12).expand(by_book.shape).reshape(-1)
        smoothed = (self.ema_counts + options.epsilon * mean) / (1.0 + options.epsilon)
        torch.div(self.ema_sums, smoothed.unsqueeze(1), out=self.codebooks)
        by_chance = (math.log(options.decay) * CHANCE / mean).exp()
        least = by_chance.clamp(max=options.restart_threshold) * mean
        dead = torch.nonzero(self.ema_counts < least).squeeze(1)
        fresh = F.embedding(restart_rows[dead] * self.books + self.owner[dead], parts)
        self.codebooks[dead], self.ema_counts[dead] = fresh, mean[dead]
        self.ema_sums[dead] = fresh * mean[dead].unsqueeze(1)


class LowRank(nn.Module):
    """Dot product of vectors and of nonlinear features of both sides."""

    def __init__(self, width: int, rank: int) -> None:
        super().__init__()
        self.token_hidden, self.item_hidden = nn.Linear(width, rank), nn.Linear(width, rank)
        self.item_output = nn.Linear(rank, rank)

    def hidden_part(self, tokens: Tensor, lift: Tensor) -> Tensor:
        """The hidden layer of the lifted tokens, added up; both linear maps are multiplied first."""
        maps = lift @ self.token_hidden.weight.t()
        return F.relu(torch.bmm(tokens.transpose(0, 1), maps) + self.token_hidden.bias).sum(0)

    def item_part(self, items: Tensor) -> Tensor:
        return torch.cat((items, self.item_output(F.relu(self.item_hidden(items)))), -1)


class Matching(nn.Module):
    """Two-tower, or SparCode with quantized tokens whose scores add up with their sign."""

    def __init__(self, config: Config, shape: DataShape) -> None:
        super().__init__()
        model, width = config.model, config.model.embedding_size
        encoder = model.encoder
        if encoder.name == "dnn":
            history: nn.Module = Dnn(width, encoder.hidden_size)
        else:
            history = SasRec(model, shape.history_length)
        self.encoder = nn.ModuleDict({"history": history})
        self.tower = nn.ParameterDict({"id_table": torch.zeros(shape.num_items + 1, width)})
        self.item_length = model.item_length
        self.commitment = model.quantizer.commitment_weight
        self.full = config.train.loss.negatives == "full"
        self.sparcode = model.name == "sparcode"
        if self.sparcode:
            size = model.num_query_tokens * model.token_size
            self.num_tokens, self.token_size = model.num_query_tokens, model.token_size
            # the tokens hold the whole query: neither matrix is trained
            self.tokenizer = nn.ParameterDict({"project": _fixed(width, size)})
            self.lift = nn.ParameterDict({"weight": _fixed(self.num_tokens, self.token_size, width)})
            self.quantizer = Quantizer(model)
        self.scorer = None
        if self.sparcode and model.scorer.name == "low_rank":
            self.scorer = LowRank(width, model.scorer.hidden_size)

    def _items(self, ids: Tensor) -> Tensor:
        items = F.embedding(ids, self.tower["id_table"])
        if self.item_length:
            items = self.item_length * F.normalize(items, dim=-1)
        return items if self.scorer is None else self.scorer.item_part(items)

    def _parts(
        self, queries: Tensor, quantized_queries: Tensor
    ) -> tuple[Tensor, Tensor | float, tuple[Tensor, Tensor] | None]:
        if not self.sparcode:
            return queries, 0.0, None
        tokens = (queries @ self.tokenizer["project"]).view(-1, self.num_tokens, self.token_size)
        quantized, rows, error = self.quantizer(tokens, quantized_queries)
        lift = self.lift["weight"]
        part = quantized.flatten(1) @ lift.flatten(0, 1)  # the sum of the lifted tokens
        if self.scorer is not None:
            part = torch.cat((part, self.scorer.hidden_part(quantized, lift)), -1)
        return part, error, (tokens.detach(), rows)

    def forward(self, batch: Mapping[str, Tensor]) -> tuple[Tensor, tuple[Tensor, Tensor] | None]:
        """Loss of a batch without padding, and what the codebooks follow."""
        items = F.embedding(batch["history"], self.tower["id_table"])
        queries = self.encoder["history"](items, batch["history"], batch["query_index"])
        part, error, codes = self._parts(queries, batch["quantized_queries"])
        negatives = part @ self._items(batch["candidates"]).t()
        positives = batch["positives"]
        if self.full:  # the candidates are the catalogue: the positive is one of them
            losses = F.cross_entropy(negatives, positives - 1, reduction="none")
        else:
            negatives = negatives + batch["log_weights"]
            positive = (part * self._items(positives)).sum(-1, keepdim=True)
            target = torch.zeros_like(positives)
            losses = F.cross_entropy(torch.cat((positive, negatives), 1), target, reduction="none")
        weights = batch["weights"]
        return ((losses + self.commitment * error) * weights).sum() / weights.sum(), codes

    def load(self, weights: Mapping[str, NDArray[np.float32]]) -> None:
        """Take over weights by name.

        Raises:
            RuntimeError: names or shapes differ.
        """
        names = {".gamma": ".weight", ".beta": ".bias"}
        renamed = {}
        for name, values in weights.items():
            for ours, theirs in names.items():
                name = name.removesuffix(ours) + theirs if name.endswith(ours) else name
            renamed[name] = torch.from_numpy(values.copy())
        self.load_state_dict(renamed)


def _fixed(*shape: int) -> nn.Parameter:
    return nn.Parameter(torch.zeros(*shape), requires_grad=False)


class TorchStep:
    """One optimisation step on NumPy arrays: loss, gradients, Adam, codebooks."""

    def __init__(self, network: Matching, learning_rate: float) -> None:
        self._network = network
        trained = [weight for weight in network.parameters() if weight.requires_grad]
        self._optimizer = torch.optim.Adam(trained, lr=learning_rate, fused=True)

    def __call__(self, arrays: Mapping[str, NDArray[np.generic]]) -> float:
        """The loss before the step."""
        batch = {name: torch.from_numpy(values) for name, values in arrays.items()}
        self._optimizer.zero_grad(set_to_none=True)
        loss, codes = self._network(batch)
        loss.backward()
        self._optimizer.step()
        if codes is not None:
            self._network.quantizer.update(*codes, batch["weights"], batch["restart_rows"])
        return loss.item()

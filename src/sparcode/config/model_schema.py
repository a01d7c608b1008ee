"""The model section: what all encoders, scorers and models have in common.

The options of each lie beside its network (see ``sparcode.config.registry``).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import Field, model_validator

from sparcode.config.registry import one_of, read_options
from sparcode.config.section import Fraction, Positive, Rate, Section

MAX_NUM_TERMS = 2**24
"""Largest accepted number of posting lists (16.8 million)."""

DEFAULT_ENCODER, DEFAULT_SCORER, DEFAULT_MODEL = "dnn", "dot", "sparcode"


class EncoderOptions(Section):
    """Query encoder: the keys that every one has."""

    name: str
    hidden_size: Positive = Field(
        128,
        description="width of the perceptron (dnn, join mlp) or feed-forward block (sasrec)",
    )
    num_heads: Positive = Field(1, description="attention heads (sasrec, join attention)")
    join: Literal["mlp", "attention"] = Field(
        "mlp", description="how user features and history become the query: an MLP, or attention among them"
    )

    def check(self, width: int) -> None:
        """Raises ValueError for options that do not fit item embeddings of the width."""
        if (self.attends or self.join == "attention") and width % self.num_heads:
            raise ValueError(
                f"model.embedding_size ({width}) must be divisible by model.encoder.num_heads "
                f"({self.num_heads})"
            )

    @property
    def attends(self) -> bool:
        """Whether the encoder divides its width into ``num_heads``."""
        return False


class ScorerOptions(Section):
    """Interaction scorer E(token, item)."""

    name: str


ENCODERS = read_options("encoders", EncoderOptions)
SCORERS = read_options("interaction", ScorerOptions)

if TYPE_CHECKING:
    AnyEncoder = EncoderOptions
    AnyScorer = ScorerOptions
else:
    AnyEncoder = one_of(ENCODERS, DEFAULT_ENCODER)
    AnyScorer = one_of(SCORERS, DEFAULT_SCORER)


class QuantizerConfig(Section):
    """Code assignment: product quantization with EMA codebooks."""

    num_codebooks: Positive = Field(1, description="M, sub-vectors per token")
    codebook_size: int = Field(
        0, ge=0, description="N, codewords per codebook, at least 2; 0 = by the number of training queries"
    )
    decay: Annotated[float, Field(gt=0.0, lt=1.0)] = Field(
        0.99, description="EMA decay of codeword statistics"
    )
    epsilon: Rate = Field(1e-5, description="Laplace smoothing of the codeword counts, share of the mean")
    shared: bool = Field(
        False, description="one set of codebooks for all tokens, as in the paper, instead of one for each"
    )
    restart_threshold: Annotated[float, Field(ge=0.0, lt=1.0)] = Field(
        0.1, description="codewords with an EMA count below this share of the mean are re-drawn, 0 = never"
    )
    commitment_weight: Annotated[float, Field(ge=0.0)] = Field(
        0.25, description="beta of the commitment loss"
    )

    @model_validator(mode="after")
    def _check_size(self) -> QuantizerConfig:
        if self.codebook_size == 1:
            raise ValueError("model.quantizer.codebook_size (1) must be 0 or at least 2")
        return self

    @property
    def num_codes(self) -> int:
        """Codes of a token; 0 while the data have not decided."""
        return self.codebook_size**self.num_codebooks


class MixtureConfig(Section):
    """Sizes of a mixture of logits."""

    item_components: Positive = Field(
        2, description="components of an item; those of a query are model.num_query_tokens"
    )
    component_size: Positive = Field(32, description="width of a component")
    gate_size: Positive = Field(16, description="hidden width of the networks that weigh component products")
    temperature: Rate = Field(0.05, description="cosines of components are divided by this")


class ModelOptions(Section):
    """Network: the keys that every model has, for the query encoder and the item tower."""

    name: str
    embedding_size: Positive = Field(64, description="width of item embeddings and query vectors")
    item_layers: int = Field(
        1, ge=0, description="hidden layers over id and features of an item, beside their sum; 0 = the sum"
    )
    item_hidden_size: int = Field(0, ge=0, description="width of these layers, 0 = embedding_size")
    item_std: Annotated[float, Field(ge=0.0)] = Field(
        0.0, description="spread of item embeddings before training, 0 = 1 / sqrt(embedding_size)"
    )
    item_length: Annotated[float, Field(ge=0.0)] = Field(
        0.0, description="length that item vectors are scaled to when they are scored, 0 = as they are"
    )
    temperature: Rate = Field(1.0, description="scores are divided by this in the softmax loss")
    encoder: AnyEncoder = Field(
        default_factory=lambda: ENCODERS[DEFAULT_ENCODER].model_validate({}),
        description="encoder of the query",
    )

    @model_validator(mode="after")
    def _check_encoder(self) -> ModelOptions:
        self.encoder.check(self.embedding_size)
        return self

    @property
    def codes_per_token(self) -> int:
        """Codes that a token can have, 0 for models without codes."""
        return 0


class InteractionOptions(ModelOptions):
    """Models whose query is a set of tokens, scored by an interaction scorer one by one."""

    num_query_tokens: Positive = Field(1, description="K_u, tokens of a query")
    token_size: Positive = Field(64, description="D, width of a token")
    signed_scores: bool = Field(
        True, description="token scores add up with their sign; false = relu(E + b), as in the paper"
    )
    score_bias: float = Field(1.0, description="start of the learned bias b in relu(E + b) (unsigned scores)")
    relu_leak: Fraction = Field(
        0.1, description="gradient of that relu below zero for positives, so that silenced ones recover"
    )
    scorer: AnyScorer = Field(
        default_factory=lambda: SCORERS[DEFAULT_SCORER].model_validate({}), description="interaction network"
    )


MODELS: dict[str, type[ModelOptions]] = read_options("matchers", ModelOptions)
MODELS |= read_options("matchers", InteractionOptions)
MODELS = dict(sorted(MODELS.items()))

if TYPE_CHECKING:
    AnyModel = ModelOptions
else:
    AnyModel = one_of(MODELS, DEFAULT_MODEL)


def default_model() -> Any:
    """The model that a configuration without a model section has."""
    return MODELS[DEFAULT_MODEL].model_validate({})

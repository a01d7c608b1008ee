"""The typed configuration: every key, its default, its meaning and its allowed range.

A key that is not listed here is refused. Cross-key rules are checked by the validators at the end of
each section, before any data is read.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from sparcode.config.data_schema import DataConfig
from sparcode.config.model_schema import AnyModel, default_model
from sparcode.config.section import ByteCount, CutOffs, Fraction, Positive, Rate, Section


class DeviceConfig(Section):
    """Where and how MindSpore runs."""

    target: Literal["CPU", "GPU", "Ascend"] = Field("CPU", description="device the networks run on")
    id: int | None = Field(None, ge=0, description="number of the device, null = chosen by MindSpore")
    mode: Literal["graph", "pynative"] = Field(
        "graph", description="graph compiles the steps; pynative runs them eagerly, for debugging"
    )

    @model_validator(mode="after")
    def _check(self) -> DeviceConfig:
        if self.target == "CPU" and self.id:
            raise ValueError(f"device.id ({self.id}) must be 0 or null: device.target CPU is one device")
        return self


class LossConfig(Section):
    """Softmax loss and its negatives."""

    negatives: Literal["uniform", "popularity", "in_batch", "mixed", "full"] = Field(
        "uniform", description="negatives: sampled, targets of the batch, both, or the whole catalogue"
    )
    num_negatives: int = Field(
        0,
        ge=0,
        description="sampled negatives of a step, 0 = by the number of items (uniform, popularity, mixed)",
    )
    popularity_exponent: Annotated[float, Field(ge=0.0)] = Field(
        0.75, description="sampling weight is count ** this (popularity, mixed)"
    )
    logq_correction: bool = Field(True, description="subtract the log of a negative's expected count")
    gather_in_batch: bool = Field(
        True, description="in-batch negatives of all workers of a job, false = each has those of its share"
    )


class TrainConfig(Section):
    """Optimisation, validation and checkpoints."""

    epochs: Positive = Field(20, description="passes over the training data")
    batch_size: int = Field(
        0,
        ge=0,
        description="sequences of a step (ordered data) or targets (unordered), 0 = by the size of the data",
    )
    targets_per_sequence: Positive = Field(
        8, description="training targets kept per sequence on average (ordered data)"
    )
    vary_history: bool = Field(
        False, description="cut each history to a random length from 0 on, for cold start (unordered data)"
    )
    learning_rate: Annotated[float, Field(ge=0.0)] = Field(
        0.0, description="peak learning rate of Adam, 0 = by the number of steps"
    )
    schedule: Literal["constant", "linear", "cosine"] = Field(
        "linear", description="decay of the learning rate"
    )
    warmup_steps: int = Field(0, ge=0, description="steps of linear learning-rate warm-up")
    weight_decay: Annotated[float, Field(ge=0.0)] = Field(0.0, description="L2 penalty")
    gradient_clip: Annotated[float, Field(ge=0.0)] = Field(0.0, description="largest global norm, 0 = off")
    quantize_from: Annotated[float, Field(ge=0.0, le=1.0)] = Field(
        0.5,
        description="share of the epochs before codebooks are fitted and tokens quantized, 1 = codebooks are "
        "fitted to the best epoch when training is over (sparcode)",
    )
    quantized_share: Annotated[float, Field(gt=0.0, le=1.0)] = Field(
        1.0,
        description="share of the queries with quantized tokens from then on, resampled every step; the "
        "others are scored as before (sparcode)",
    )
    loss: LossConfig = Field(default_factory=LossConfig, description="loss and negatives")
    validate_every: Positive = Field(1, description="epochs between validations")
    validation_users: int = Field(2000, ge=0, description="users of a validation, 0 = all")
    monitor: str = Field(
        "ndcg@50",
        pattern=r"^(precision|recall|ndcg|hit_rate|mrr)@[1-9]\d*$",
        description="validation metric that picks the best checkpoint",
    )
    patience: int = Field(0, ge=0, description="validations without improvement before stopping, 0 = never")
    collapse_warning: Fraction = Field(0.2, description="warn when less than this share of codewords is used")


class IndexConfig(Section):
    """How the inverted index is built from a trained model."""

    top_l: Annotated[int, Field(ge=0)] = Field(
        200, description="postings of a list, the best of a code less their floor; 0 = no limit"
    )
    packing: Literal["none", "float32", "float16", "uint8"] = Field(
        "none", description="lists as plain arrays, or packed with scores of this type"
    )
    max_bytes: ByteCount = Field(
        0, description="cut lists to fit the index in so many bytes, such as 200MB; 0 = no limit"
    )
    block_terms: Positive = Field(256, description="codes scored at once")
    block_items: Positive = Field(4096, description="items scored at once")
    threads: Positive = Field(1, description="blocks scored at the same time")
    probes: int = Field(
        0,
        ge=0,
        description="P, nearest codes that each token of a query asks for, 0 = chosen on validation users",
    )
    probe_temperature: Annotated[float, Field(ge=0.0)] = Field(
        0.0,
        description="t in the weights softmax(-d_p / (t d_1)) of probes, d_p the squared distance to the "
        "p-th nearest code, 0 = chosen on validation users",
    )
    prior_strength: Annotated[float, Field(ge=0.0)] | None = Field(
        0.0,
        description="how many observed interactions the network is worth in the list of a code, null = lists "
        "of the network alone, 0 = chosen on validation users",
    )


class CrossesConfig(Section):
    """Crosses: items of the history as terms of their own, with posting lists of item-to-item weights."""

    kind: Literal["auto", "none", "ridge", "following"] = Field(
        "auto",
        description="weights by ridge regression (sets of items), or by what follows what (sequences); "
        "auto = as the data are, none without histories",
    )
    weight: Annotated[float, Field(ge=0.0)] = Field(
        0.0, description="of the crosses against the network's score, 0 = chosen on validation users"
    )
    max_history: int = Field(
        0, ge=0, description="last history items that are terms, 0 = data.max_history, which is the least"
    )
    age_decay: Annotated[float, Field(gt=0.0, le=1.0)] = Field(
        1.0, description="factor on a history item's weight for each later item"
    )
    top_l: int = Field(48, ge=0, description="postings of a history item's list, 0 = no limit")
    ridge: Rate = Field(20.0, description="L2 penalty of the regression (ridge)")
    neighbours: Positive = Field(
        200, description="items that an item is predicted from, those with most common users (ridge)"
    )
    user_power: Annotated[float, Field(ge=0.0)] = Field(
        0.5, description="a user of n items counts n to minus this power (ridge)"
    )
    item_power: Annotated[float, Field(ge=0.0)] = Field(
        0.5, description="an item of n users has n to this power times the penalty (ridge)"
    )
    known_items: int = Field(
        0,
        ge=0,
        description="items of a history that the regression counts on, for cold start; 0 = all (ridge)",
    )
    window: Positive = Field(20, description="how many places later an item may follow (following)")
    gap_decay: Annotated[float, Field(gt=0.0, le=1.0)] = Field(
        0.9, description="factor for each place in between (following)"
    )
    source_power: Annotated[float, Field(ge=0.0)] = Field(
        0.7, description="division by the count of the earlier item to this power (following)"
    )
    target_power: Annotated[float, Field(ge=0.0)] = Field(
        0.3, description="division by the count of the later item to this power (following)"
    )
    smoothing: Rate = Field(15.0, description="added to both counts (following)")


class EvalConfig(Section):
    """Evaluation protocol."""

    ks: CutOffs = Field((10, 50), description="cut-offs of the metrics")
    exclude_seen: bool = Field(True, description="leave items of the history out of the ranking")
    max_users: int = Field(0, ge=0, description="evaluate the first users only, 0 = all")
    first_items: int | None = Field(
        None, ge=0, description="queries know the first so many history items only: cold start; null = all"
    )
    fidelity_queries: int = Field(
        1000, ge=0, description="queries for index against exhaustive scoring, 0 = none"
    )
    latency_queries: int = Field(200, ge=0, description="single queries timed, 0 = none")
    batch_size: Positive = Field(256, description="queries encoded at once")
    threads: Positive = Field(1, description="threads of the index search")
    rescore: int = Field(
        0,
        ge=0,
        description="R, best items of the search that the network rescores, 0 = none; a bundle then holds "
        "what that reads",
    )

    @model_validator(mode="after")
    def _check(self) -> EvalConfig:
        if 0 < self.rescore < max(self.ks):
            raise ValueError(
                f"eval.rescore ({self.rescore}) must be 0 or at least the largest of eval.ks ({max(self.ks)})"
            )
        return self


class ExportConfig(Section):
    """Deployment bundle."""

    verify_queries: Positive = Field(200, description="real queries that the reloaded bundle must reproduce")
    tolerance: Rate = Field(
        1e-4, description="largest accepted score difference, relative to max(1, |score|)"
    )


class Config(Section):
    """The whole configuration."""

    seed: int = Field(0, ge=0, lt=2**31, description="seed of initialisation, sampling and dropout")
    device: DeviceConfig = Field(default_factory=DeviceConfig, description="device")
    data: DataConfig = Field(default_factory=DataConfig, description="data")
    model: AnyModel = Field(default_factory=default_model, description="network")
    train: TrainConfig = Field(default_factory=TrainConfig, description="training")
    crosses: CrossesConfig = Field(default_factory=CrossesConfig, description="crosses with history items")
    index: IndexConfig = Field(default_factory=IndexConfig, description="index")
    eval: EvalConfig = Field(default_factory=EvalConfig, description="evaluation")
    export: ExportConfig = Field(default_factory=ExportConfig, description="bundle")

    @model_validator(mode="after")
    def _check(self) -> Config:
        codes = self.model.codes_per_token
        if codes and self.index.probes > codes:
            raise ValueError(
                f"index.probes ({self.index.probes}) must not exceed the number of codes of a token ({codes})"
            )
        if self.index.prior_strength and not getattr(self.model, "signed_scores", True):
            raise ValueError(
                f"index.prior_strength ({self.index.prior_strength}) needs model.signed_scores: the relu of "
                "unsigned scores leaves no distribution that counts could correct"
            )
        if self.crosses.kind != "none":
            self._check_crosses()
        if self.data.source == "deezer":
            if self.model.encoder.name != "dnn":
                raise ValueError(
                    f"model.encoder.name {self.model.encoder.name!r} needs ordered histories, but queries "
                    "of data.source deezer are feature sets: set model.encoder.name to dnn"
                )
            if not self.data.use_user_features:
                raise ValueError("data.use_user_features must be true: data.source deezer has nothing else")
        return self

    def _check_crosses(self) -> None:
        if self.data.source == "deezer" and self.crosses.kind != "auto":
            raise ValueError(
                "crosses.kind must be none or auto: queries of data.source deezer have no histories"
            )
        if 0 < self.crosses.max_history < self.data.max_history:
            raise ValueError(
                f"crosses.max_history ({self.crosses.max_history}) must be 0 or at least data.max_history "
                f"({self.data.max_history})"
            )

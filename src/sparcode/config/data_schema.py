"""The data section of the configuration."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from sparcode.config.section import Fraction, Positive, Section

Share = Annotated[float, Field(ge=0.0, le=1.0)]


class SyntheticConfig(Section):
    """Generator of the built-in data set (used when data.source is synthetic)."""

    num_users: Positive = Field(4000, description="users")
    num_items: Positive = Field(2000, description="items")
    interactions_per_user: Positive = Field(24, description="mean number of interactions per user")
    popularity: Annotated[float, Field(ge=0.0)] = Field(
        1.0, description="weight of the Zipf popularity, 0 = all items alike"
    )
    followers: Annotated[float, Field(ge=0.0)] = Field(
        3.0, description="what following one of the last items adds, 0 = nothing"
    )
    session_stay: Share = Field(
        0.9, description="probability that an interaction has the interest of the one before, 0 = no sessions"
    )
    telling_features: Share = Field(
        1.0, description="share of items and users that show their own features, not those of another"
    )
    seed: int = Field(7, ge=0, description="seed of the generator")


class TableConfig(Section):
    """Column names of a CSV or Parquet table (used when data.source is table)."""

    user_column: str = Field("user", description="column with user ids")
    item_column: str = Field("item", description="column with item ids")
    rating_column: str | None = Field(None, description="column with ratings, null = implicit feedback")
    timestamp_column: str | None = Field(None, description="column with timestamps, null = no order")
    separator: str = Field(",", min_length=1, description="CSV field separator")


class DeezerConfig(Section):
    """Variant of the Deezer cold-start data (used when data.source is deezer)."""

    embeddings: Literal["svd", "mf"] = Field("svd", description="TT-SVD or UT-ALS embeddings")


class DataConfig(Section):
    """Raw data, how it is filtered and split, and where the data set directory lies."""

    name: str = Field("synthetic", min_length=1, description="name of the data set in reports")
    source: Literal["synthetic", "movielens", "user_lines", "table", "deezer"] = Field(
        "synthetic", description="format of the raw data"
    )
    path: str | None = Field(
        None, min_length=1, description="file or directory with the raw data, null for synthetic"
    )
    dataset_dir: str = Field(
        "datasets/synthetic", min_length=1, description="data set directory, made from path when missing"
    )
    min_rating: float | None = Field(None, description="keep interactions rated at least this, null = all")
    min_user_interactions: int = Field(0, ge=0, description="k-core: fewest interactions of a user")
    min_item_interactions: int = Field(0, ge=0, description="k-core: fewest interactions of an item")
    duplicates: Literal["keep_first", "keep_last", "keep_all", "error"] = Field(
        "keep_first", description="what to do with a repeated (user, item) pair"
    )
    protocol: Literal["leave_one_out", "ratio", "global_time", "pre_split"] = Field(
        "leave_one_out", description="how interactions are divided into train, valid and test"
    )
    valid_ratio: Fraction = Field(0.1, description="share of validation targets (all but leave_one_out)")
    test_ratio: Fraction = Field(0.1, description="share of test targets (ratio, global_time)")
    split_seed: int = Field(0, ge=0, description="seed of random splits (data without an order)")
    max_history: Positive = Field(50, description="history items given to the encoder")
    use_user_features: bool = Field(True, description="give user features to the query encoder")
    use_item_features: bool = Field(True, description="give item features besides the id to the item tower")
    use_item_ids: bool = Field(
        True, description="learn an embedding of every item id; false = features alone"
    )
    synthetic: SyntheticConfig = Field(default_factory=SyntheticConfig, description="built-in generator")
    table: TableConfig = Field(default_factory=TableConfig, description="table columns")
    deezer: DeezerConfig = Field(default_factory=DeezerConfig, description="Deezer variant")

    @model_validator(mode="after")
    def _check(self) -> DataConfig:
        if self.source != "synthetic" and self.path is None:
            raise ValueError(f"data.path is required for data.source {self.source!r}")
        if self.source == "synthetic" and self.path is not None:
            raise ValueError(
                f"data.path is {self.path!r}, but data.source synthetic reads no files: set data.source"
            )
        if self.valid_ratio + self.test_ratio >= 1.0:
            raise ValueError("data.valid_ratio + data.test_ratio must be below 1")
        if self.protocol == "pre_split" and self.source not in ("user_lines", "deezer"):
            raise ValueError("data.protocol pre_split needs data.source user_lines or deezer")
        if self.source == "deezer" and self.protocol != "pre_split":
            raise ValueError("data.source deezer is split by its publishers: set data.protocol to pre_split")
        if self.protocol == "global_time" and self.source == "table" and self.table.timestamp_column is None:
            raise ValueError("data.protocol global_time needs data.table.timestamp_column")
        return self

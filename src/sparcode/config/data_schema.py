"""The data section of the configuration."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BeforeValidator, Field, model_validator

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


def _separator_of_text(value: object) -> object:
    return "\t" if value in ("\\t", "tab") else value


Separator = Annotated[str, Field(min_length=1), BeforeValidator(_separator_of_text)]
"""Text between fields; ``tab`` and a written-out ``\\t`` are the tab, for command lines."""

FEATURE_KINDS = "categorical | multi | path | number | embedding | title"


class FeatureColumn(Section):
    """What a column of an item or user table is: the value of one entry of ``features``.

    Attributes:
        kind: ``categorical``: one value; ``multi``: several values with ``separator`` between them, or a list
            column; ``path``: levels from the widest to the narrowest, each a value with all above it;
            ``number``; ``embedding``: a vector; ``title``: for people, never a feature.
        separator: between the values (multi, ``|`` unless set) or levels (path, ``/`` unless set).
        columns: columns of an embedding: a pattern such as ``emb_*``, or the name of a list column; null =
            the list column with the name of the entry.
        file: ``.npy`` file (n, size) with an embedding, in place of columns.
        ids: text file with the id of every row of ``file``, one a line.
    """

    kind: Literal["categorical", "multi", "path", "number", "embedding", "title"]
    separator: Separator | None = None
    columns: str | None = Field(None, min_length=1)
    file: str | None = Field(None, min_length=1)
    ids: str | None = Field(None, min_length=1)

    @model_validator(mode="after")
    def _check(self) -> FeatureColumn:
        if self.separator is not None and self.kind not in ("multi", "path"):
            raise ValueError(f"separator belongs to the kinds multi and path, not to {self.kind}")
        if self.kind != "embedding" and (self.columns or self.file or self.ids):
            raise ValueError(f"columns, file and ids belong to the kind embedding, not to {self.kind}")
        if (self.file is None) != (self.ids is None) or (self.file and self.columns):
            raise ValueError("an embedding is given by columns, or by file and ids together")
        return self


def _column_of_kind(value: object) -> object:
    if not isinstance(value, dict):
        return value
    return {name: {"kind": column} if isinstance(column, str) else column for name, column in value.items()}


Features = Annotated[dict[str, FeatureColumn], BeforeValidator(_column_of_kind)]


class FeatureTableConfig(Section):
    """A table of items or users: a row for each, with features by kind."""

    path: str | None = Field(
        None, min_length=1, description="file or directory, relative to data.path; null = none"
    )
    id_column: str | None = Field(None, description="column with ids, null = named as in the interactions")
    separator: Separator | None = Field(None, description="CSV field separator, null = as the interactions")
    encoding: str | None = Field(None, description="encoding of text, null = as the interactions")
    features: Features = Field(
        {},
        description="kind of each column to use, such as {brand: categorical, price: number}",
        json_schema_extra={"allowed": f"mapping of columns to {FEATURE_KINDS}, or to their settings"},
    )


class TableConfig(Section):
    """Tables of interactions, items and users (used when data.source is table)."""

    path: str | None = Field(
        None, min_length=1, description="interactions, relative to data.path; null = data.path itself"
    )
    user_column: str = Field("user", description="column with user ids")
    item_column: str = Field("item", description="column with item ids")
    rating_column: str | None = Field(None, description="column with ratings, null = implicit feedback")
    timestamp_column: str | None = Field(None, description="column with timestamps, null = no order")
    time_format: str | None = Field(
        None, min_length=1, description="of dates such as %d.%m.%Y; null = numbers or ISO 8601"
    )
    event_column: str | None = Field(None, description="column with the kind of event, null = all alike")
    events: dict[str, Annotated[float, Field(gt=0.0)]] | None = Field(
        None,
        min_length=1,
        description="events to keep and their weights as training targets, null = all, alike",
        json_schema_extra={"allowed": "mapping of events to numbers > 0, or null"},
    )
    separator: Separator | None = Field(
        None, description="CSV field separator, tab for a tab; null = tab in .tsv, comma in other files"
    )
    encoding: str = Field(
        "utf-8", min_length=1, description="encoding of text without a byte order mark, such as latin-1"
    )
    items: FeatureTableConfig = Field(default_factory=FeatureTableConfig, description="table of items")
    users: FeatureTableConfig = Field(default_factory=FeatureTableConfig, description="table of users")

    @model_validator(mode="after")
    def _check(self) -> TableConfig:
        if self.events is not None and self.event_column is None:
            raise ValueError("data.table.events needs data.table.event_column")
        for name, table in (("items", self.items), ("users", self.users)):
            if sum(column.kind == "title" for column in table.features.values()) > 1:
                raise ValueError(f"data.table.{name}.features has more than one title")
        return self


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
    bad_rows: Literal["error", "skip"] = Field(
        "error", description="a malformed row of a table stops, or is left out and counted (table)"
    )
    max_bad_share: Share = Field(0.01, description="largest share of bad rows of a table that skip allows")
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

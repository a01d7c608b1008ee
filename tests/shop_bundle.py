"""The bundle of a small shop, made of three tables; its untrained network knows items by their features."""

from __future__ import annotations

import atexit
import shutil
import tempfile
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from bundle_cases import Case, make_config, with_random_parameters
from own_shop import write_shop
from sparcode.config.schema import Config
from sparcode.data.dataset import Dataset, preprocess
from sparcode.index import BuildOptions, build_index
from sparcode.model.block_scorer import NetworkBlockScorer
from sparcode.model.factory import DataShape, build_network
from sparcode.model.matchers.sparcode import SparCode
from sparcode.serving.export.exporter import ExportRequest, export_bundle

CASE = Case(item_ids=False, signed=True)


@dataclass(frozen=True)
class ShopBundle:
    path: Path
    dataset: Dataset
    config: Config


def shop_config(root: Path) -> Config:
    document = make_config(CASE).model_dump(mode="json")
    document["data"] |= {
        "name": "shop",
        "source": "table",
        "path": str(root / "raw"),
        "dataset_dir": str(root / "data"),
        "min_item_interactions": 0,
        "table": {
            "path": "views.csv",
            "timestamp_column": "event_time",
            "items": {
                "path": "items.csv",
                "id_column": "item_id",
                "features": {
                    "title": "title",
                    "brand": "categorical",
                    "category": "path",
                    "price": "number",
                    "tags": "multi",
                    "emb": {"kind": "embedding", "columns": "emb_*"},
                },
            },
            "users": {
                "path": "users.csv",
                "id_column": "user_id",
                "features": {"country": "categorical", "age": "number"},
            },
        },
    }
    return Config.model_validate(document)


def shop_request(root: Path, output: Path, with_histories: bool = False) -> ExportRequest:
    write_shop(root / "raw", junk=False)
    config = shop_config(root)
    dataset = preprocess(config.data)
    shape = DataShape(
        dataset.num_items,
        config.data.max_history,
        dataset.item_features,
        dataset.user_features,
        dataset.item_arrays,
        False,
    )
    network = with_random_parameters(build_network(config.model, shape))
    assert isinstance(network, SparCode)
    codebooks = network.term_codebooks()
    scorer = NetworkBlockScorer(network, dataset.num_items)
    index = build_index(scorer, codebooks, BuildOptions(signed=True)).index
    return ExportRequest(network, dataset, config, index, codebooks, output, with_histories=with_histories)


@cache
def shop_bundle(with_histories: bool = False) -> ShopBundle:
    """Made once; tests must not change it."""
    root = Path(tempfile.mkdtemp(prefix="sparcode-shop-"))
    atexit.register(shutil.rmtree, root, ignore_errors=True)
    request = shop_request(root, root / "bundle", with_histories)
    export_bundle(request)
    return ShopBundle(request.output, request.dataset, request.config)

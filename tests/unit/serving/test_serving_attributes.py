"""Item features become attributes: numbers where all values are, unknown where the data set says missing."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from bundle_cases import NUM_ITEMS, Case, copy_of, exported
from sparcode.errors import BundleError
from sparcode.index.filters import FilterCompiler
from sparcode.serving import Retriever, open_bundle
from sparcode.serving.item_attributes import attributes_of_features, changed_attributes
from sparcode.serving.item_changes import ItemChange
from sparcode.types import FeatureSpec

SPECS = [
    FeatureSpec("genres", "multi", size=3, width=2),
    FeatureSpec("year", "categorical", size=3),
    FeatureSpec("studio", "categorical", size=3),
    FeatureSpec("content", "dense", size=2, width=2),
]
ARRAYS = {
    "genres": np.array([[0, 0], [1, 2], [0, 0], [2, 0]], np.int32),
    "year": np.array([0, 2, 0, 1], np.int32),
    "studio": np.array([0, 1, 2, 0], np.int32),
    "content": np.zeros((4, 2), np.float32),
}
VOCABULARIES = {"genres": ["", "7", "War"], "year": ["", "1990", "2001"], "studio": ["", "1990", "nan"]}


def test_features_become_columns_of_their_kind() -> None:
    attributes = attributes_of_features(SPECS, ARRAYS, VOCABULARIES)
    assert attributes is not None
    assert attributes.names == ("genres", "year", "studio")
    genres, year, studio = map(attributes.column, attributes.names)
    assert genres.to_pylist() == [[], ["7", "War"], [], ["War"]]
    assert year.to_pylist() == [None, 2001, None, 1990]
    assert studio.to_pylist() == [None, "1990", "nan", None]  # "nan" is a name here, not a number


def test_dense_features_alone_are_no_attributes() -> None:
    assert attributes_of_features(SPECS[3:], ARRAYS, VOCABULARIES) is None
    assert attributes_of_features([], {}, {}) is None


def test_a_bundle_keeps_attributes_that_its_network_does_not_read() -> None:
    bundle = open_bundle(exported(Case(features=False)).path)
    assert bundle.manifest.item_features == ()
    assert bundle.attributes is not None
    assert bundle.attributes.names == ("genre", "year")
    assert bundle.attributes.num_items == NUM_ITEMS


@pytest.mark.parametrize("verify", [True, False])
def test_damaged_attributes_are_a_damaged_bundle(tmp_path, verify: bool) -> None:
    path = copy_of(Case(), tmp_path / "bundle")
    section = next((path / "attributes").glob("table-*.npy"))
    content = bytearray(section.read_bytes())
    content[65] ^= 1  # in the header
    section.write_bytes(content)
    with pytest.raises(BundleError, match=section.name):
        open_bundle(path, verify=verify)


def test_numbers_are_those_of_the_source() -> None:
    raw = np.array([np.nan, 19.5, np.nan, 3.0])
    attributes = attributes_of_features(SPECS[3:], ARRAYS, VOCABULARIES, {"content": raw})
    assert attributes is not None
    assert attributes.column("content").to_pylist() == [None, 19.5, None, 3.0]


@pytest.mark.parametrize("features", [True, False])
def test_attributes_follow_updates(tmp_path, features: bool) -> None:
    """Also those of features that the network does not read."""
    retriever = Retriever.load(exported(Case(item_ids=False, features=True, top_l=6, signed=True)).path)
    if not features:
        unread = replace(retriever.bundle.manifest, item_features=())
        bundle = replace(retriever.bundle, manifest=unread, item_arrays=())
        numbers = {str(item): item for item in range(1, NUM_ITEMS + 3)}
        late = [ItemChange(str(NUM_ITEMS + 1), {}), ItemChange(str(NUM_ITEMS + 2), {"year": "2030"})]
        changed = changed_attributes(bundle, numbers, late)
        assert changed is not None
        assert changed.num_items == NUM_ITEMS + 2
        compiler = FilterCompiler(changed)
        (words,) = compiler.compile("year > 0 or genre in ('War', 'Drama', 'Comedy')")
        assert int(words) >> (NUM_ITEMS + 1) == 0b10
        return
    old = retriever.bundle.item_ids[2]
    retriever.update(
        add=[{"item": "new", "features": {"genre": ["War"], "year": "2001"}}],
        rescore=[{"item": old, "features": {"genre": ["Comedy", "Drama"]}}],
    )
    retriever.save(tmp_path / "bundle")
    assert len(list((tmp_path / "bundle" / "attributes").iterdir())) == 2
    for one in (retriever, Retriever.load(tmp_path / "bundle")):
        (war,) = one.recommend([{"history": []}], k=50, where="year = 2001 and genre has 'War'")
        (both,) = one.recommend(
            [{"history": [old]}], k=50, exclude_seen=False,
            where="genre has 'Comedy' and genre has 'Drama' and not year > 0",
        )  # fmt: skip
        assert "new" in dict(war)
        assert old in dict(both)

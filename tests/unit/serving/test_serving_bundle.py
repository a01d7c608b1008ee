"""A bundle is opened only when all its parts belong together; whatever does not is named."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from bundle_cases import Case, copy_of, exported
from sparcode.errors import BundleError
from sparcode.index import InvertedIndex
from sparcode.serving import Retriever, open_bundle
from sparcode.serving.bundle import file_entry
from sparcode.serving.manifest import Manifest, is_bundle, read_manifest, write_manifest

SPARCODE, TWO_TOWER = Case(), Case(model="two_tower")


def all_files(case: Case) -> list[str]:
    root = exported(case).path
    return sorted(path.relative_to(root).as_posix() for path in root.rglob("*") if path.is_file())


def reseal(bundle: Path, change: Callable[[Manifest], Manifest] = lambda manifest: manifest) -> None:
    """Make the manifest agree with the files again, as a careful forger would."""
    manifest = change(read_manifest(bundle))
    paths = sorted(path for path in bundle.rglob("*") if path.is_file() and path != bundle / "manifest.json")
    files = {path.relative_to(bundle).as_posix(): file_entry(path) for path in paths}
    write_manifest(bundle, Manifest(**{**vars(manifest), "files": files}))


def edit_manifest(bundle: Path, **values: object) -> None:
    document = json.loads((bundle / "manifest.json").read_text(encoding="utf-8"))
    (bundle / "manifest.json").write_text(json.dumps({**document, **values}), encoding="utf-8")


@pytest.mark.parametrize("case", [SPARCODE, TWO_TOWER], ids=lambda case: case.model)
def test_a_bundle_holds_the_files_of_the_format_and_nothing_else(case: Case) -> None:
    files = all_files(case)
    common = {
        "manifest.json",
        "encoder.mindir",
        "scorer.mindir",
        "items.json",
        "features.json",
        "popularity.npy",
        "popularity_counts.npy",
        "config.yaml",
        *(f"item_features/{number}.npy" for number in range(3)),
    }
    rest = {name for name in set(files) - common if not name.startswith("attributes/")}
    assert len(set(files) - common - rest) == 2  # manifest and table
    assert common <= set(files)
    if case is TWO_TOWER:
        assert rest == {"item_vectors.npy"}
    else:
        assert "codebooks.npy" in rest
        assert all(name.startswith("index/") for name in rest - {"codebooks.npy"})
    assert all((exported(case).path / name).stat().st_mode & 0o044 == 0o044 for name in files)


@pytest.mark.parametrize("shared", [False, True], ids=["slots", "shared"])
def test_the_manifest_states_what_the_bundle_is(shared: bool) -> None:
    bundle = open_bundle(exported(Case(shared=shared)).path)
    manifest = bundle.manifest
    assert (manifest.model, manifest.num_items, manifest.history_length) == ("sparcode", 20, 5)
    assert manifest.dataset == {"name": "tiny", "fingerprint": "0" * 64}
    assert manifest.codes == {
        "num_query_tokens": 3,
        "num_probes": 1,
        "token_size": 8,
        "num_slots": 1 if shared else 3,
        "num_codebooks": 2,
        "codebook_size": 4,
        "num_terms": 16 if shared else 48,
        "num_item_terms": 0,
    }
    assert bundle.codebooks is not None
    assert (bundle.codebooks.shape, bundle.codebooks.dtype) == ((1 if shared else 3, 2, 4, 8), np.float32)
    assert bundle.index is not None
    assert bundle.index.num_terms == manifest.codes["num_terms"]
    assert [spec.name for spec in manifest.encoder.inputs] == [
        "history",
        "user:age",
        "user:tags",
        "user:profile",
    ]
    assert [spec.shape for spec in manifest.encoder.outputs] == [(None, 3), (None, 3), (None, 3, 8)]
    assert [spec.shape for spec in manifest.scorer.inputs] == [
        (None, 8),
        (None,),
        (None, 2),
        (None,),
        (None, 3),
    ]
    assert [(spec.name, spec.dtype) for spec in manifest.encoder.outputs] == [
        ("term_ids", "int32"),
        ("weights", "float32"),
        ("tokens", "float32"),
    ]


def test_popularity_counts_training_interactions_with_ties_by_id() -> None:
    bundle = open_bundle(exported(SPARCODE).path)
    counts = np.bincount(exported(SPARCODE).request.dataset.train.items, minlength=21)
    expected = sorted(range(1, 21), key=lambda item: (-counts[item], item))
    assert bundle.popularity.tolist() == expected
    assert bundle.popularity_counts.tolist() == [counts[item] for item in expected]


@pytest.mark.parametrize(
    ("case", "name"), [(case, name) for case in (SPARCODE, TWO_TOWER) for name in all_files(case)]
)
def test_a_flipped_byte_is_found_and_the_file_named(case: Case, name: str, tmp_path: Path) -> None:
    bundle = copy_of(case, tmp_path / "bundle")
    content = bytearray((bundle / name).read_bytes())
    content[len(content) // 2] ^= 1
    (bundle / name).write_bytes(content)
    with pytest.raises(BundleError, match=re.escape(name)):
        open_bundle(bundle)


@pytest.mark.parametrize("name", all_files(SPARCODE))
def test_a_missing_file_is_named(name: str, tmp_path: Path) -> None:
    bundle = copy_of(SPARCODE, tmp_path / "bundle")
    (bundle / name).unlink()
    with pytest.raises(BundleError, match=re.escape(name)):
        open_bundle(bundle)


def test_a_truncated_file_is_found_even_without_checksums(tmp_path: Path) -> None:
    bundle = copy_of(SPARCODE, tmp_path / "bundle")
    file = bundle / "scorer.mindir"
    file.write_bytes(file.read_bytes()[:-1])
    with pytest.raises(BundleError, match=r"scorer\.mindir.*bytes"):
        open_bundle(bundle, verify=False)


def test_a_missing_directory_says_how_to_make_one(tmp_path: Path) -> None:
    with pytest.raises(BundleError, match=r"does not exist.*export\.py"):
        Retriever.load(tmp_path / "nothing")


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"version": 2}, "unknown version.*expected 1; received 2"),
        ({"format": "sparcode-index"}, "not the manifest of a bundle"),
        ({"num_items": 21}, "checksum of the manifest"),
    ],
)
def test_another_format_version_or_content_is_refused(
    values: dict[str, object], message: str, tmp_path: Path
) -> None:
    bundle = copy_of(SPARCODE, tmp_path / "bundle")
    edit_manifest(bundle, **values)
    with pytest.raises(BundleError, match=message):
        open_bundle(bundle)


@pytest.mark.parametrize("text", ["", "{", "[]", "null", '{"format": "sparcode-bundle", "version": 1}'])
def test_a_broken_manifest_is_a_bundle_error(text: str, tmp_path: Path) -> None:
    (tmp_path / "manifest.json").write_text(text, encoding="utf-8")
    with pytest.raises(BundleError, match=r"manifest\.json"):
        open_bundle(tmp_path)


def test_the_index_of_another_bundle_is_refused_by_name(tmp_path: Path) -> None:
    bundle = copy_of(SPARCODE, tmp_path / "bundle")
    other = exported(Case(top_l=6))
    shutil.rmtree(bundle / "index")
    shutil.copytree(other.path / "index", bundle / "index")
    with pytest.raises(
        BundleError, match=f"index was built for another bundle.*{other.report.manifest.bundle_id}"
    ):
        open_bundle(bundle)
    reseal(bundle)
    with pytest.raises(BundleError, match="index was built for another bundle"):
        open_bundle(bundle)


def test_an_index_of_another_size_is_refused_although_it_claims_the_bundle(tmp_path: Path) -> None:
    bundle = copy_of(SPARCODE, tmp_path / "bundle")
    metadata = {"bundle_id": read_manifest(bundle).bundle_id}
    index = InvertedIndex.from_postings([0, 1], [3], np.float32([1.0]), num_items=20, metadata=metadata)
    index.save(bundle / "index")
    reseal(bundle)
    with pytest.raises(BundleError, match=r"num_terms 48.*num_terms 1,"):
        open_bundle(bundle)


@pytest.mark.parametrize("name", ["encoder.mindir", "codebooks.npy", "items.json", "item_features/1.npy"])
def test_a_file_of_another_bundle_is_named(name: str, tmp_path: Path) -> None:
    bundle = copy_of(SPARCODE, tmp_path / "bundle")
    source = exported(TWO_TOWER).path / ("item_vectors.npy" if name == "codebooks.npy" else name)
    if name in ("items.json", "item_features/1.npy"):  # equal in both: change it
        (bundle / name).write_bytes(source.read_bytes().replace(b"1", b"2", 1))
    else:
        shutil.copyfile(source, bundle / name)
    with pytest.raises(BundleError, match=f"{name}: file does not belong to this bundle"):
        open_bundle(bundle)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("items.json", '["a"]', "20 distinct ids"),
        ("features.json", '{"user": {}}', "no vocabulary of user feature 'age'"),
        ("features.json", '{"user": {"age": [""], "tags": ["", "a", "b", "c"]}}', "3 values"),
        ("codebooks.npy", "", "array cannot be read"),
    ],
)
def test_contents_are_checked_beside_checksums(name: str, content: str, message: str, tmp_path: Path) -> None:
    bundle = copy_of(SPARCODE, tmp_path / "bundle")
    (bundle / name).write_text(content, encoding="utf-8")
    reseal(bundle)
    with pytest.raises(BundleError, match=message):
        open_bundle(bundle)


def test_an_array_of_another_shape_is_refused(tmp_path: Path) -> None:
    bundle = copy_of(TWO_TOWER, tmp_path / "bundle")
    np.save(bundle / "item_vectors.npy", np.zeros((21, 9), np.float32))
    reseal(bundle)
    with pytest.raises(BundleError, match=r"item_vectors\.npy.*expected float32 \(21, 8\)"):
        open_bundle(bundle)


def test_a_popularity_that_is_no_ranking_is_refused(tmp_path: Path) -> None:
    bundle = copy_of(TWO_TOWER, tmp_path / "bundle")
    np.save(bundle / "popularity.npy", np.ones(20, np.int32))
    reseal(bundle)
    with pytest.raises(BundleError, match=r"popularity\.npy.*not a ranking"):
        open_bundle(bundle)


def test_a_bundle_without_a_listed_file_is_refused(tmp_path: Path) -> None:
    bundle = copy_of(SPARCODE, tmp_path / "bundle")
    manifest = read_manifest(bundle)
    files = {name: entry for name, entry in manifest.files.items() if name != "codebooks.npy"}
    write_manifest(bundle, Manifest(**{**vars(manifest), "files": files}))
    with pytest.raises(BundleError, match=r"does not list a file.*codebooks\.npy"):
        open_bundle(bundle)


def test_a_graph_that_mindspore_cannot_load_is_a_bundle_error(tmp_path: Path) -> None:
    bundle = copy_of(TWO_TOWER, tmp_path / "bundle")
    (bundle / "encoder.mindir").write_bytes(b"no graph")
    reseal(bundle)
    with pytest.raises(BundleError, match=r"encoder\.mindir: graph cannot be loaded"):
        Retriever.load(bundle)


def test_a_moved_bundle_still_opens(tmp_path: Path) -> None:
    bundle = copy_of(TWO_TOWER, tmp_path / "a name + é")
    assert is_bundle(bundle)
    assert len(Retriever.load(bundle).recommend([{"history": ["i07"]}], k=3)[0]) == 3

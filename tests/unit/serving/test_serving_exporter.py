"""Export is all or nothing: a bundle that differs from the live model never takes its name."""

from __future__ import annotations

import errno
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bundle_cases import Case, copy_of, exported, make_config, make_request, with_output
from sparcode.errors import BundleError, OutputError, UsageError
from sparcode.index import InvertedIndex
from sparcode.index.packed.coding import Encoding
from sparcode.serving.bundle import open_bundle
from sparcode.serving.export import exporter, writer
from sparcode.serving.export.exporter import export_bundle
from sparcode.serving.manifest import read_manifest

TWO_TOWER = Case(model="two_tower", features=False)


def contents(directory: Path) -> dict[str, bytes]:
    return {str(path): path.read_bytes() for path in sorted(directory.rglob("*")) if path.is_file()}


def test_a_new_export_replaces_an_older_bundle(tmp_path: Path) -> None:
    old = copy_of(Case(model="two_tower"), tmp_path / "bundle")
    before = read_manifest(old).bundle_id
    report = export_bundle(with_output(exported(TWO_TOWER).request, old))
    assert read_manifest(old).bundle_id == report.manifest.bundle_id != before
    assert not (old / "item_features").exists()
    assert [path.name for path in tmp_path.iterdir()] == ["bundle"]
    assert "4 queries" in report.text()


def test_an_export_to_a_symbolic_link_replaces_what_it_points_to(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to("real")
    export_bundle(with_output(exported(TWO_TOWER).request, tmp_path / "link"))
    assert (tmp_path / "link").is_symlink()
    assert (tmp_path / "real" / "manifest.json").is_file()


@pytest.mark.parametrize("kind", ["directory", "file"])
def test_what_is_no_bundle_is_not_replaced(kind: str, tmp_path: Path) -> None:
    output = tmp_path / "precious"
    if kind == "file":
        output.write_text("mine", encoding="utf-8")
    else:
        output.mkdir()
        (output / "thesis.txt").write_text("mine", encoding="utf-8")
    with pytest.raises(OutputError, match="exists and is not a bundle"):
        export_bundle(with_output(exported(TWO_TOWER).request, output))
    assert "mine" in (output if kind == "file" else output / "thesis.txt").read_text(encoding="utf-8")
    assert len(list(tmp_path.iterdir())) == 1


def test_a_full_disk_leaves_the_old_bundle(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    output = copy_of(TWO_TOWER, tmp_path / "bundle")
    before = contents(tmp_path)

    def fail(*args: Any, **kwargs: Any) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(writer.shutil, "copyfile", fail)
    with pytest.raises(OutputError, match="No space left on device"):
        export_bundle(with_output(exported(TWO_TOWER).request, output))
    assert contents(tmp_path) == before


def test_an_output_below_a_file_is_an_output_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("", encoding="utf-8")
    with pytest.raises(OutputError, match="cannot be written"):
        export_bundle(with_output(exported(TWO_TOWER).request, tmp_path / "file" / "bundle"))


def test_a_bundle_that_differs_is_deleted_and_the_old_one_stays(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    output = copy_of(TWO_TOWER, tmp_path / "bundle")
    before = contents(tmp_path)
    original = writer.item_vectors
    monkeypatch.setattr(writer, "item_vectors", lambda network: original(network) + np.float32(0.01))
    with pytest.raises(BundleError, match=r"differs from the live model in item vectors.*0\.01") as caught:
        export_bundle(with_output(exported(TWO_TOWER).request, output))
    assert str(output) in str(caught.value)
    assert contents(tmp_path) == before


def test_wrong_feature_rows_in_the_bundle_are_noticed(tmp_path: Path) -> None:
    request = exported(Case()).request
    rows = {**request.dataset.item_arrays, "content": request.dataset.item_arrays["content"] + 1}
    changed = replace(request, dataset=replace(request.dataset, item_arrays=rows), output=tmp_path / "bundle")
    with pytest.raises(BundleError, match="differs from the live model in scores"):
        export_bundle(changed)
    assert list(tmp_path.iterdir()) == []


def test_an_index_of_an_older_model_is_noticed(tmp_path: Path) -> None:
    """Same sizes, same codebooks, other scores: only scoring the postings again can tell."""
    request = exported(Case()).request
    assert request.index is not None
    postings = request.index.postings
    wrong = np.array(postings.scores) + np.linspace(0, 1, postings.num_postings, dtype=np.float32)
    stale = InvertedIndex.from_postings(postings.indptr, postings.item_ids, wrong, num_items=20)
    with pytest.raises(BundleError, match="differs from the live model in postings"):
        export_bundle(replace(request, index=stale, output=tmp_path / "bundle"))


@pytest.mark.parametrize("signed", [False, True], ids=["relu", "signed"])
def test_pruning_that_shifts_whole_lists_is_accepted(signed: bool) -> None:
    report = exported(Case(top_l=6, signed=signed)).report
    assert 0 <= report.verification.index_error < 1e-5
    assert report.verification.num_queries == 4  # the users with test targets


@pytest.mark.parametrize("encoding", ["float32", "float16", "uint8"])
def test_a_bundle_keeps_packed_lists_and_answers_from_them(tmp_path: Path, encoding: Encoding) -> None:
    request = exported(Case(top_l=6, signed=True)).request
    assert request.index is not None
    index = request.index.pack(encoding)
    packed = replace(request, index=index, output=tmp_path / "bundle")
    assert export_bundle(packed).verification.index_error < 1e-5
    loaded = open_bundle(tmp_path / "bundle").index
    assert loaded is not None
    assert loaded.encoding == encoding
    np.testing.assert_array_equal(loaded.postings.scores, index.postings.scores)


@pytest.mark.parametrize("encoding", ["float32", "float16", "uint8"])
def test_packing_does_not_hide_an_index_of_an_older_model(tmp_path: Path, encoding: Encoding) -> None:
    request = exported(Case(top_l=6, signed=True)).request
    assert request.index is not None
    postings = request.index.postings
    wrong = np.array(postings.scores) + np.linspace(0, 1, postings.num_postings, dtype=np.float32)
    stale = InvertedIndex.from_postings(postings.indptr, postings.item_ids, wrong, num_items=20)
    with pytest.raises(BundleError, match="differs from the live model in postings"):
        export_bundle(replace(request, index=stale.pack(encoding), output=tmp_path / "bundle"))


def test_ids_that_do_not_lead_back_to_the_items_are_noticed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def write_reversed(path: Path, value: Any, **options: Any) -> None:
        original(path, value[::-1] if path.name == "items.json" else value, **options)

    original = writer.write_json
    monkeypatch.setattr(writer, "write_json", write_reversed)
    with pytest.raises(BundleError, match="differs from the live model in"):
        export_bundle(with_output(exported(Case()).request, tmp_path / "bundle"))


@pytest.mark.parametrize("model", ["all_to_all", "max_sim", "mol"])
def test_a_model_without_index_or_vectors_is_refused(tmp_path: Path, model: str) -> None:
    request = make_request(Case(model=model), tmp_path / "bundle")
    with pytest.raises(UsageError, match=f"a {model} model cannot be retrieved from"):
        export_bundle(request)


@pytest.mark.parametrize(
    ("changes", "error", "message"),
    [
        ({"index": None}, UsageError, "needs its index"),
        ({"codebooks": np.zeros((3, 2, 4, 8), np.float32)}, BundleError, "codebooks are not those"),
        (
            {"index": InvertedIndex.from_postings([0, 0], [], np.float32([]), num_items=20)},
            BundleError,
            "index is not that of the network; expected 48 terms",
        ),
        ({"config": make_config(Case(features=False))}, BundleError, "differ in user features"),
    ],
)
def test_parts_that_do_not_belong_together_are_refused(
    changes: dict[str, Any], error: type[Exception], message: str, tmp_path: Path
) -> None:
    request = replace(exported(Case()).request, output=tmp_path / "bundle", **changes)
    with pytest.raises(error, match=message):
        export_bundle(request)
    assert list(tmp_path.iterdir()) == []


def test_the_network_of_another_catalogue_is_refused(tmp_path: Path) -> None:
    request = exported(TWO_TOWER).request
    dataset = replace(request.dataset, num_items=19, item_ids=request.dataset.item_ids[:19])
    with pytest.raises(BundleError, match="differ in size; expected 19 items; received 20"):
        exporter.export_bundle(replace(request, dataset=dataset, output=tmp_path / "bundle"))


def test_the_caller_keeps_its_index_metadata() -> None:
    request = exported(Case()).request
    assert request.index is not None
    assert "bundle_id" not in request.index.metadata

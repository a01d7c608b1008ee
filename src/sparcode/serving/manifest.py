"""The manifest of a deployment bundle: what is in it, and what its graphs take and give.

Byte-level description: docs/bundle_format.md.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from sparcode.errors import BundleError
from sparcode.files import text_sha256, write_json
from sparcode.serving.histories import DIRECTORY
from sparcode.types import FeatureSpec

FORMAT_NAME = "sparcode-bundle"
FORMAT_VERSION = 1
MANIFEST_NAME = "manifest.json"
MODELS = ("sparcode", "two_tower")

ENCODER_FILE = "encoder.mindir"
SCORER_FILE = "scorer.mindir"
INDEX_DIRECTORY = "index"
ATTRIBUTES_DIRECTORY = "attributes"
CODEBOOKS_FILE = "codebooks.npy"
ITEM_VECTORS_FILE = "item_vectors.npy"
ITEM_PARTS_FILE = "item_parts.npy"
CROSSES_DIRECTORY = "crosses"
ITEMS_FILE = "items.json"
FEATURES_FILE = "features.json"
POPULARITY_FILE = "popularity.npy"
POPULARITY_COUNTS_FILE = "popularity_counts.npy"
TITLES_FILE = "titles.json"
ROLES_FILE = "roles.json"
REMOVED_FILE = "removed.npy"
CONFIG_FILE = "config.yaml"

_REMEDY = "export the bundle again, or copy it again as a whole"


def item_feature_file(number: int) -> str:
    """Path within the bundle of the rows of the n-th item feature."""
    return f"item_features/{number}.npy"


@dataclass(frozen=True)
class TensorSpec:
    """An input or output of a graph.

    Attributes:
        name: what it is.
        dtype: NumPy type text.
        shape: axis lengths; None = any length. Free axes of one graph with the same meaning are listed in
            docs/bundle_format.md.
    """

    name: str
    dtype: str
    shape: tuple[int | None, ...]


@dataclass(frozen=True)
class GraphSpec:
    """A compiled graph of the bundle."""

    file: str
    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]


@dataclass(frozen=True)
class FileEntry:
    """Size in bytes and SHA-256 (hexadecimal) of a file."""

    size: int
    sha256: str


@dataclass(frozen=True)
class Manifest:
    """Everything that a reader needs to know before it opens another file.

    Attributes:
        bundle_id: unique to one export; the index carries it too.
        sparcode_version: package that wrote the bundle.
        mindspore_version: MindSpore that wrote the graphs.
        model: ``sparcode`` or ``two_tower``.
        dataset: ``name`` and ``fingerprint`` of the data set.
        num_items: catalogue size I.
        history_length: items given to the encoder, L.
        query_kind: ``history``, or ``features`` when the encoder was trained without histories.
        exclude_seen: whether recommendations leave out the history unless asked otherwise.
        codes: K_u, token width d, S, M, N, ``num_terms`` and, of these, ``num_item_terms``, see
            docs/bundle_format.md; the last two alone for two_tower with crosses, empty without.
        vector_size: width d of query and item vectors; 0 for sparcode.
        fallback: what answers a query of which nothing is known.
        user_features: inputs of the encoder after the history, in order.
        item_features: inputs of the scorer after the item ids, in order.
        encoder: query encoder graph.
        scorer: interaction graph.
        files: by path within the bundle, every file but the manifest.
        item_embeddings: whether the graphs need the embedding of an id: only trained items can be scored.
        signed_scores: whether token scores add up with their sign, else each after a relu; None = not said
            (bundles of earlier versions).
        trained_items: items 1 .. trained_items are those that the graphs were trained with; None = all.
    """

    bundle_id: str
    sparcode_version: str
    mindspore_version: str
    model: str
    dataset: Mapping[str, str]
    num_items: int
    history_length: int
    query_kind: str
    exclude_seen: bool
    codes: Mapping[str, int]
    vector_size: int
    fallback: Mapping[str, str]
    user_features: tuple[FeatureSpec, ...]
    item_features: tuple[FeatureSpec, ...]
    encoder: GraphSpec
    scorer: GraphSpec
    files: Mapping[str, FileEntry]
    item_embeddings: bool = True
    trained_items: int | None = None
    signed_scores: bool | None = None

    @property
    def encoder_items(self) -> int:
        """The largest item id that the graphs take; items above it were added to the bundle later."""
        return self.num_items if self.trained_items is None else self.trained_items

    @property
    def has_index(self) -> bool:
        """Whether there are posting lists: of codes and crosses, or of crosses beside item vectors."""
        return bool(self.codes)

    @property
    def has_histories(self) -> bool:
        """Whether items and features of users are kept."""
        return any(file.startswith(f"{DIRECTORY}/") for file in self.files)

    def required_files(self) -> list[str]:
        """Paths that a bundle of this model cannot do without; of the index, its manifest."""
        own = [CODEBOOKS_FILE if self.model == "sparcode" else ITEM_VECTORS_FILE]
        if self.has_index:
            own.append(f"{INDEX_DIRECTORY}/manifest.json")
        features = [item_feature_file(number) for number in range(len(self.item_features))]
        common = [ITEMS_FILE, FEATURES_FILE, POPULARITY_FILE, POPULARITY_COUNTS_FILE, CONFIG_FILE]
        return [self.encoder.file, self.scorer.file, *own, *common, *features]


def write_manifest(directory: Path, manifest: Manifest) -> None:
    """Write ``manifest.json``.

    Raises:
        OutputError: it cannot be written.
    """
    content = {"format": FORMAT_NAME, "version": FORMAT_VERSION, **asdict(manifest)}
    document = {**content, "checksum": _checksum(content)}
    write_json(directory / MANIFEST_NAME, document)


def is_bundle(directory: Path) -> bool:
    """Whether a directory holds a bundle of any version, sound or not."""
    try:
        document = json.loads((directory / MANIFEST_NAME).read_bytes())
    except (OSError, ValueError):
        return False
    return isinstance(document, dict) and document.get("format") == FORMAT_NAME


def read_manifest(directory: Path) -> Manifest:
    """Read and check ``manifest.json``.

    Raises:
        BundleError: no directory, no manifest, not JSON, another format or version, damaged, or incomplete.
    """
    if not directory.is_dir():
        raise BundleError(
            "bundle directory does not exist",
            where=directory,
            remedy="write one with python export.py --run_dir RUN --output BUNDLE",
        )
    path = directory / MANIFEST_NAME
    document = _read_document(path)
    content = {key: value for key, value in document.items() if key != "checksum"}
    if document.get("checksum") != _checksum(content):
        raise BundleError("checksum of the manifest differs", where=path, remedy=_REMEDY)
    try:
        return _parse(content)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise BundleError(
            "manifest lacks an entry", where=path, received=repr(error), remedy=_REMEDY
        ) from error


def _read_document(path: Path) -> dict[str, Any]:
    try:
        document = json.loads(path.read_bytes())
    except OSError as error:
        raise BundleError(
            "manifest of the bundle cannot be read",
            where=path,
            received=error.strerror,
            remedy="name a directory that export.py has written",
        ) from error
    except (ValueError, RecursionError) as error:
        raise BundleError("manifest is not JSON", where=path, received=error, remedy=_REMEDY) from error
    if not isinstance(document, dict) or document.get("format") != FORMAT_NAME:
        raise BundleError("not the manifest of a bundle", where=path, expected=f"format {FORMAT_NAME!r}")
    if document.get("version") != FORMAT_VERSION:
        raise BundleError(
            "unknown version of the bundle format",
            where=path,
            expected=FORMAT_VERSION,
            received=document.get("version"),
            remedy="export the bundle again with this version of sparcode",
        )
    return document


def _checksum(content: Mapping[str, Any]) -> str:
    """SHA-256 of the manifest without its checksum, as compact JSON with sorted keys."""
    text = json.dumps(content, sort_keys=True, separators=(",", ":"))
    return text_sha256(text)


def _parse(content: dict[str, Any]) -> Manifest:
    fields = {key: value for key, value in content.items() if key not in ("format", "version")}
    for owner in ("user_features", "item_features"):
        fields[owner] = tuple(FeatureSpec(**spec) for spec in fields[owner])
    for graph in ("encoder", "scorer"):
        fields[graph] = GraphSpec(
            fields[graph]["file"], _tensors(fields[graph]["inputs"]), _tensors(fields[graph]["outputs"])
        )
    fields["files"] = {path: FileEntry(**entry) for path, entry in fields["files"].items()}
    manifest = Manifest(**fields)
    if manifest.model not in MODELS:
        raise ValueError(f"model {manifest.model!r}")
    return manifest


def _tensors(entries: list[dict[str, Any]]) -> tuple[TensorSpec, ...]:
    return tuple(TensorSpec(entry["name"], entry["dtype"], tuple(entry["shape"])) for entry in entries)

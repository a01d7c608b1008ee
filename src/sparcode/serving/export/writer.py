"""The files of a bundle, written from a trained network."""

from __future__ import annotations

import logging
import shutil
import tempfile
import uuid
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import sparcode.environment  # isort: skip  - before MindSpore
import mindspore as ms
import numpy as np
from mindspore import nn
from numpy.typing import NDArray

import sparcode
from sparcode.config import Config, dump_config
from sparcode.crosses import CrossTable
from sparcode.data.dataset import Dataset
from sparcode.errors import BundleError, UsageError
from sparcode.files import write_json, write_text
from sparcode.index import InvertedIndex, Posterior, count_terms
from sparcode.index.search.rescoring import half_parts
from sparcode.model.inference import (
    CodeEncoder,
    TokenItemScorer,
    VectorEncoder,
    VectorItemScorer,
)
from sparcode.model.item_vectors import item_vectors
from sparcode.model.matchers.sparcode import SparCode
from sparcode.model.matchers.two_tower import TwoTower
from sparcode.model.matching import MatchingNetwork
from sparcode.serving import manifest as names
from sparcode.serving.bundle import BUNDLE_ID_KEY, array_layout, file_entry
from sparcode.serving.export.dataset_histories import histories_of
from sparcode.serving.histories import write_histories
from sparcode.serving.item_attributes import attributes_of_features
from sparcode.serving.manifest import GraphSpec, Manifest, TensorSpec, item_feature_file, write_manifest
from sparcode.serving.mindir import placeholder
from sparcode.types import FeatureSpec

FALLBACK = {
    "name": "popularity",
    "when": "no history item and no feature of the query is known",
    "score": "number of training interactions",
}

_log = logging.getLogger(__name__)


@dataclass(frozen=True, eq=False)
class ExportRequest:
    """What to put into a bundle.

    Attributes:
        network: trained SparCode (with fitted codebooks) or two-tower network.
        dataset: the data set that it was trained on.
        config: its configuration.
        index: inverted index built from the network; for two_tower that of the crosses, or None.
        codebooks: (S, M, N, d) float32, ``term_codebooks`` of the network; None for two_tower.
        output: bundle directory to write.
        crosses: whose lists the index holds beside those of the network's codes.
        posterior: what corrected the lists of codes; None = they are the network's alone.
        with_histories: keep all items and features of every user, so that queries can name one.
    """

    network: MatchingNetwork
    dataset: Dataset
    config: Config
    index: InvertedIndex | None
    codebooks: NDArray[np.float32] | None
    output: Path
    crosses: CrossTable | None = None
    posterior: Posterior | None = None
    with_histories: bool = False

    @property
    def history_length(self) -> int:
        """Items of a history that a query carries."""
        return self.config.data.max_history if self.crosses is None else self.crosses.history_length

    @property
    def user_features(self) -> tuple[FeatureSpec, ...]:
        """Features that the encoder takes, in order."""
        return self.dataset.user_features if self.config.data.use_user_features else ()

    @property
    def item_features(self) -> tuple[FeatureSpec, ...]:
        """Features that the item tower takes, in order."""
        return self.dataset.item_features if self.config.data.use_item_features else ()


def check_request(request: ExportRequest) -> None:
    """Refuse what cannot become a bundle.

    Raises:
        UsageError: the model cannot be served from an index or by vector search, or an argument is missing.
        BundleError: network, data set, codebooks and index do not belong together.
    """
    network = request.network
    if not isinstance(network, SparCode | TwoTower):
        raise UsageError(
            f"a {request.config.model.name} model cannot be retrieved from: every item has to be scored",
            expected="a sparcode or two_tower model",
        )
    for owner, built, specs in (
        ("user", len(network.encoder.features), request.user_features),
        ("item", len(network.tower.features), request.item_features),
    ):
        if built != len(specs):
            raise BundleError(
                f"network and data set differ in {owner} features", expected=len(specs), received=built
            )
    rows = network.tower.num_items + 1
    if rows != request.dataset.num_items + 1:
        raise BundleError(
            "network and data set differ in size",
            expected=f"{request.dataset.num_items} items",
            received=rows - 1,
        )
    if isinstance(network, SparCode):
        _check_codes(request, network)
    elif request.crosses is not None and request.index is None:
        raise UsageError("a bundle with crosses needs an index of their lists")


def _check_codes(request: ExportRequest, network: SparCode) -> None:
    if request.index is None or request.codebooks is None:
        raise UsageError("a sparcode bundle needs its index and codebooks")
    if not np.array_equal(request.codebooks, network.term_codebooks()):
        raise BundleError("the codebooks are not those of the network", remedy="build the index again")
    expected = (_code_sizes(request, network)["num_terms"], request.dataset.num_items)
    received = (request.index.num_terms, request.index.num_items)
    if received != expected:
        raise BundleError(
            "the index is not that of the network",
            expected=f"{expected[0]} terms and {expected[1]} items",
            received=f"{received[0]} terms and {received[1]} items",
            remedy="build the index again",
        )


def write_parts(directory: Path, request: ExportRequest) -> Manifest:
    """Write every file of the bundle into an empty directory.

    Raises:
        OSError, OutputError: a file cannot be written.
        BundleError: MindSpore cannot export a graph.
    """
    manifest = _describe(request)
    _write_ids(directory, request)
    _write_arrays(directory, request)
    _write_attributes(directory, request.dataset)
    if request.with_histories:
        write_histories(directory, histories_of(request.dataset, request.user_features))
    if request.index is not None:
        metadata = {**request.index.metadata, BUNDLE_ID_KEY: manifest.bundle_id}
        request.index.with_metadata(metadata).save(directory / names.INDEX_DIRECTORY)
    if request.config.eval.rescore:
        _write_for_rescoring(directory, request)
    has_codes = isinstance(request.network, SparCode)
    scorer: nn.Cell = (TokenItemScorer if has_codes else VectorItemScorer)(request.network)
    encoder = query_encoder(request.network, request.crosses)
    _export_graph(encoder, manifest.encoder, directory)
    _export_graph(scorer, manifest.scorer, directory)
    paths = sorted(path for path in directory.rglob("*") if path.is_file())
    files = {path.relative_to(directory).as_posix(): file_entry(path) for path in paths}
    manifest = replace(manifest, files=files)
    write_manifest(directory, manifest)
    return manifest


def query_encoder(network: MatchingNetwork, crosses: CrossTable | None) -> nn.Cell:
    """The graph that encodes queries; with crosses history items are terms as well."""
    cell = CodeEncoder if isinstance(network, SparCode) else VectorEncoder
    if crosses is None:
        return cell(network)
    return cell(network, crosses.history_weights(), crosses.encoder_length)


def _describe(request: ExportRequest) -> Manifest:
    """The manifest without the list of files."""
    network, config = request.network, request.config
    width = network.tower.width
    is_sparcode = isinstance(network, SparCode)
    return Manifest(
        bundle_id=uuid.uuid4().hex,
        sparcode_version=sparcode.__version__,
        mindspore_version=ms.__version__,
        model="sparcode" if is_sparcode else "two_tower",
        dataset={"name": request.dataset.name, "fingerprint": request.dataset.fingerprint},
        num_items=request.dataset.num_items,
        history_length=request.history_length,
        query_kind=request.dataset.query_kind,
        exclude_seen=config.eval.exclude_seen,
        codes=_code_sizes(request, network),
        vector_size=0 if is_sparcode else width,
        fallback=FALLBACK,
        user_features=request.user_features,
        item_features=request.item_features,
        encoder=_encoder_spec(request, width),
        scorer=_scorer_spec(request, width),
        files={},
        item_embeddings=not network.tower.takes_new_items,
        signed_scores=network.score.signed if isinstance(network, SparCode) else True,
    )


def _code_sizes(request: ExportRequest, network: MatchingNetwork) -> dict[str, int]:
    item_terms = 0 if request.crosses is None else request.crosses.num_items
    if not isinstance(network, SparCode):
        return {"num_terms": item_terms, "num_item_terms": item_terms} if item_terms else {}
    slots, books = network.quantizer.num_slots, network.quantizer.num_codebooks
    size = network.quantizer.codebook_size
    return {
        "num_query_tokens": network.num_tokens,
        "num_probes": network.quantizer.probes,
        "token_size": network.tower.width,
        "num_slots": slots,
        "num_codebooks": books,
        "codebook_size": size,
        "num_terms": count_terms(books, size, slots) + item_terms,
        "num_item_terms": item_terms,
    }


def _encoder_spec(request: ExportRequest, width: int) -> GraphSpec:
    history = TensorSpec("history", "int32", (None, request.history_length))
    inputs = (history, *(_feature_tensor("user", spec) for spec in request.user_features))
    terms = 0 if request.crosses is None else request.history_length
    if not isinstance(request.network, SparCode):
        vectors = TensorSpec("vectors", "float32", (None, width))
        kinds = {"term_ids": "int32", "weights": "float32"} if terms else {}
        items = (TensorSpec(name, kind, (None, terms)) for name, kind in kinds.items())
        return GraphSpec(names.ENCODER_FILE, inputs, (vectors, *items))
    sizes = _code_sizes(request, request.network)
    tokens = sizes["num_query_tokens"]
    terms += tokens * sizes["num_probes"]
    outputs = (
        TensorSpec("term_ids", "int32", (None, terms)),
        TensorSpec("weights", "float32", (None, terms)),
        TensorSpec("tokens", "float32", (None, tokens, width)),
    )
    return GraphSpec(names.ENCODER_FILE, inputs, outputs)


def _scorer_spec(request: ExportRequest, width: int) -> GraphSpec:
    if isinstance(request.network, SparCode):
        queries = TensorSpec("tokens", "float32", (None, width))
    else:
        queries = TensorSpec("vectors", "float32", (None, width))
    items = TensorSpec("item_ids", "int32", (None,))
    features = (_feature_tensor("item", spec) for spec in request.item_features)
    scores = TensorSpec("scores", "float32", (None, None))
    return GraphSpec(names.SCORER_FILE, (queries, items, *features), (scores,))


def _feature_tensor(owner: str, spec: FeatureSpec) -> TensorSpec:
    dtype, shape = array_layout(spec, 0)
    return TensorSpec(f"{owner}:{spec.name}", np.dtype(dtype).name, (None, *shape[1:]))


def _write_ids(directory: Path, request: ExportRequest) -> None:
    dataset = request.dataset
    write_json(directory / names.ITEMS_FILE, dataset.item_ids, indent=None)
    vocabularies: dict[str, dict[str, list[str]]] = {
        "user": {s.name: dataset.user_vocab[s.name] for s in request.user_features if s.kind != "dense"},
        "item": {s.name: dataset.item_vocab[s.name] for s in request.item_features if s.kind != "dense"},
    }
    write_json(directory / names.FEATURES_FILE, vocabularies, indent=None)
    if dataset.item_titles is not None:
        write_json(directory / names.TITLES_FILE, dataset.item_titles, indent=None)
    roles = {"user": dataset.user_roles, "item": dataset.item_roles}
    if any(roles.values()):
        documents = {owner: [asdict(role) for role in found] for owner, found in roles.items()}
        write_json(directory / names.ROLES_FILE, documents, indent=None)
    write_text(directory / names.CONFIG_FILE, dump_config(request.config))


def _write_arrays(directory: Path, request: ExportRequest) -> None:
    dataset = request.dataset
    counts = np.bincount(dataset.train.items, minlength=dataset.num_items + 1)[1:]
    ranking = np.argsort(-counts, kind="stable")  # stable: ties by item id
    arrays: dict[str, NDArray[Any]] = {
        names.POPULARITY_FILE: (ranking + 1).astype(np.int32),
        names.POPULARITY_COUNTS_FILE: counts[ranking].astype(np.int64),
    }
    for number, spec in enumerate(request.item_features):
        arrays[item_feature_file(number)] = dataset.item_arrays[spec.name]
    if isinstance(request.network, SparCode) and request.codebooks is not None:
        arrays[names.CODEBOOKS_FILE] = request.codebooks
    else:
        arrays[names.ITEM_VECTORS_FILE] = item_vectors(request.network)
    for file, array in arrays.items():
        (directory / file).parent.mkdir(exist_ok=True)
        np.save(directory / file, array, allow_pickle=False)


def _write_for_rescoring(directory: Path, request: ExportRequest) -> None:
    """What a compiled second stage reads: item parts, where scores are dot products, and whole crosses."""
    if isinstance(request.network, SparCode) and request.network.adds_tokens:
        parts = half_parts(item_vectors(request.network))
        np.save(directory / names.ITEM_PARTS_FILE, parts, allow_pickle=False)
    if request.crosses is not None:
        lists = InvertedIndex.from_postings(*request.crosses.lists(), num_items=request.crosses.num_items)
        lists.save(directory / names.CROSSES_DIRECTORY)


def _write_attributes(directory: Path, dataset: Dataset) -> None:
    """All features that can be filtered by, whether or not the network reads them."""
    attributes = attributes_of_features(
        dataset.item_features, dataset.item_arrays, dataset.item_vocab, dataset.item_numbers
    )
    if attributes is not None:
        attributes.save(directory / names.ATTRIBUTES_DIRECTORY)


def _export_graph(cell: nn.Cell, spec: GraphSpec, directory: Path) -> None:
    """Write a graph with free batch axes.

    MindSpore accepts few characters in file names and writes files that only their owner may read, hence the
    detour.
    """
    cell.set_train(False)
    with tempfile.TemporaryDirectory(prefix="sparcode-") as scratch:
        file = Path(scratch) / "graph.mindir"
        inputs = [placeholder(tensor) for tensor in spec.inputs]
        try:
            ms.export(cell, *inputs, file_name=str(file), file_format="MINDIR")
        except (RuntimeError, ValueError, TypeError) as error:
            raise BundleError(
                "MindSpore cannot export the graph",
                where=spec.file,
                received=str(error).strip().splitlines()[0],
            ) from error
        if not file.is_file():  # above 1 GB MindSpore writes a directory of variables beside the graph
            raise BundleError("the network is too large for one MindIR file", where=spec.file)
        shutil.copyfile(file, directory / spec.file)
    _log.debug("exported %s, %d bytes", spec.file, (directory / spec.file).stat().st_size)

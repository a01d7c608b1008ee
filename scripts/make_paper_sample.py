"""Writes generated files in the format and with the sizes of the paper's two data sets, to try the commands.

``make_paper_sample.py deezer DIR`` or ``make_paper_sample.py ml-10m DIR``; ``--scale 0.01`` writes
a hundredth of the users and items. Users and items belong to clusters, so that there is something to learn;
the figures of models trained on these files mean nothing.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

CLUSTERS = 50
IN_CLUSTER = 0.5
"""Share of a user's items that come from the user's cluster."""

SONGS, LISTENERS = 50_000, {"train": 70_000, "validation": 20_000, "test": 10_000}
SONGS_A_USER = 136
"""Mean number of targets: 50 times precision over recall in the paper's table."""
EMBEDDING_SIZES = {"svd": 128, "mf": 256}
EMBEDDED_FEATURES = 20
COUNTED_FEATURES = 18

MOVIES, RATERS, RATINGS = 10_677, 69_878, 10_000_054
FEWEST_RATINGS = 20
GENRES = ("Action", "Comedy", "Drama", "Thriller", "Romance", "Sci-Fi")


def popularity(count: int) -> NDArray[np.float64]:
    """(count,) Zipf-like shares that add up to 1."""
    weights = 1.0 / (np.arange(count) + 10.0)
    return weights / weights.sum()


def cluster_shares(rng: np.random.Generator, count: int) -> NDArray[np.float64]:
    """(clusters, count): how likely a user of each cluster takes each item."""
    shares = popularity(count)
    member = rng.integers(0, CLUSTERS, count)[None] == np.arange(CLUSTERS)[:, None]
    own = np.where(member, shares, 0.0) + 1e-12
    return (1 - IN_CLUSTER) * shares + IN_CLUSTER * own / own.sum(1, keepdims=True)


def write_deezer(directory: Path, scale: float, variant: str, rng: np.random.Generator) -> None:
    """Song and user files of one variant."""
    songs = max(round(SONGS * scale), 100)
    shares = cluster_shares(rng, songs)
    numbers = rng.permutation(songs).astype(np.int64)
    columns: dict[str, pa.Array] = {"song_index": pa.array(numbers)}
    centres = {}
    for name, size in EMBEDDING_SIZES.items():
        centres[name] = rng.normal(0, 1, (CLUSTERS, size)).astype(np.float32)
        vectors = centres[name][shares.argmax(0)] + rng.normal(0, 1, (songs, size)).astype(np.float32)
        columns[f"features_{name}"] = pa.FixedSizeListArray.from_arrays(vectors.reshape(-1), size).cast(
            pa.list_(pa.float32())
        )
    pq.write_table(pa.table(columns), directory / "song_embeddings.parquet")
    first = 0
    for part, number in LISTENERS.items():
        count = max(round(number * scale), 10)
        table = _listeners(rng, first, count, numbers, shares, centres[variant])
        pq.write_table(table, directory / f"user_features_{part}_{variant}.parquet")
        first += count


def _listeners(
    rng: np.random.Generator,
    first: int,
    count: int,
    numbers: NDArray[np.int64],
    shares: NDArray[np.float64],
    centres: NDArray[np.float32],
) -> pa.Table:
    cluster = rng.integers(0, CLUSTERS, count)
    lengths = np.minimum(rng.geometric(1 / SONGS_A_USER, count), len(numbers) // 2)
    cumulative = np.cumsum(shares, axis=1)
    lists = [
        numbers[np.unique(np.searchsorted(cumulative[c], rng.random(n) * cumulative[c, -1]))]
        for c, n in zip(cluster, lengths, strict=True)
    ]
    columns = {"user_index": pa.array(np.arange(first, first + count)), "d1d30_songs": pa.array(lists)}
    for feature in range(EMBEDDED_FEATURES):
        block = centres[cluster] + 2 * rng.standard_normal((count, centres.shape[1]), np.float32)
        block = np.asfortranarray(block)
        columns |= {
            f"feature{feature}_embedding_{place}": pa.array(block[:, place])
            for place in range(block.shape[1])
        }
    for feature in range(COUNTED_FEATURES):
        columns[f"nb_{feature}"] = pa.array(rng.poisson(3.0 + cluster % 7, count))
    return pa.table(columns | {"age_value": pa.array(rng.integers(16, 80, count))})


def write_movielens(directory: Path, scale: float, rng: np.random.Generator) -> None:
    """``ratings.dat`` and ``movies.dat``; at scale 1 with the counts of MovieLens-10M."""
    movies, users = max(round(MOVIES * scale), 200), max(round(RATERS * scale), 50)
    most = movies // 2
    lengths = _rating_counts(rng, users, min(round(RATINGS * scale), users * most // 2), most)
    shares = cluster_shares(rng, movies)
    cluster = rng.integers(0, CLUSTERS, users)
    taken = np.concatenate(
        [rng.choice(movies, n, replace=False, p=shares[c]) for c, n in zip(cluster, lengths, strict=True)]
    )
    absent = np.setdiff1d(np.arange(movies), taken)
    taken[np.flatnonzero(taken == 0)[: len(absent)]] = absent  # every movie is rated by somebody
    with (directory / "ratings.dat").open("w", encoding="ascii") as stream:
        stream.writelines(_rating_lines(rng, lengths, taken))
    with (directory / "movies.dat").open("w", encoding="utf-8") as stream:
        for movie in range(movies):
            stream.write(
                f"{movie + 1}::Movie {movie + 1} ({1930 + movie % 79})::{GENRES[movie % len(GENRES)]}\n"
            )


def _rating_counts(rng: np.random.Generator, users: int, total: int, most: int) -> NDArray[np.int64]:
    """(users,) numbers of ratings that add up to ``total``, none below 20 or above ``most``."""
    weights = rng.lognormal(0, 1.1, users)
    lengths = FEWEST_RATINGS + (weights / weights.sum() * (total - users * FEWEST_RATINGS)).astype(np.int64)
    lengths = np.minimum(lengths, most)
    while missing := total - int(lengths.sum()):
        below = np.flatnonzero(lengths < most)
        lengths[rng.choice(below, min(missing, len(below)), replace=False)] += 1
    return lengths


def _rating_lines(
    rng: np.random.Generator, lengths: NDArray[np.int64], taken: NDArray[np.int64]
) -> Iterator[str]:
    start = 0
    for user, count in enumerate(lengths, 1):
        ratings = rng.integers(1, 11, count) / 2
        times = np.sort(rng.integers(789_652_009, 1_231_131_736, count))
        chosen = taken[start : start + count] + 1
        for movie, rating, moment in zip(chosen, ratings, times, strict=True):
            yield f"{user}::{movie}::{rating:g}::{moment}\n"
        start += count


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("dataset", choices=("deezer", "ml-10m"))
    parser.add_argument("directory", type=Path, help="directory to write the files into")
    parser.add_argument("--scale", type=float, default=1.0, help="share of users and items (default: 1)")
    parser.add_argument("--embeddings", choices=tuple(EMBEDDING_SIZES), default="svd", help="deezer variant")
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    if not 0 < arguments.scale <= 1:
        parser.error(f"--scale {arguments.scale} is not in (0, 1]")
    arguments.directory.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(arguments.seed)
    if arguments.dataset == "deezer":
        write_deezer(arguments.directory, arguments.scale, arguments.embeddings, rng)
    else:
        write_movielens(arguments.directory, arguments.scale, rng)


if __name__ == "__main__":
    main()

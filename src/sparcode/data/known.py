"""Counts of published data sets, so that a truncated download does not pass for the whole."""

from __future__ import annotations

from sparcode.config.data_schema import DataConfig
from sparcode.errors import DataError

KNOWN_COUNTS: dict[tuple[str, str], tuple[int, int, int]] = {
    ("ml-1m", "movielens"): (6040, 3706, 1_000_209),
    ("ml-10m", "movielens"): (69_878, 10_677, 10_000_054),
    ("ml-20m", "movielens"): (138_493, 26_744, 20_000_263),
    ("ml-1m", "user_lines"): (6040, 3260, 998_539),
    ("amazon-beauty", "user_lines"): (22_363, 12_101, 198_502),
    ("amazon-sports", "user_lines"): (35_598, 18_357, 296_337),
}
"""(data.name, data.source) -> users, items and interactions of the raw files."""


def check_known_counts(config: DataConfig, counts: dict[str, int]) -> None:
    """Compare the raw counts with the published ones when the data set is known by name and source.

    Raises:
        DataError: they differ.
    """
    expected = KNOWN_COUNTS.get((config.name, config.source))
    received = (counts["users"], counts["items"], counts["interactions"])
    if expected is None or expected == received:
        return
    raise DataError(
        f"these are not the raw data published as {config.name}",
        where=config.path,
        expected="{} users, {} items, {} interactions".format(*expected),
        received="{} users, {} items, {} interactions".format(*received),
        remedy="restore the file, or choose another data.name for a subset",
    )

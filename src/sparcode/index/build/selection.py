"""The best entries of rows of scores, in time that hardly depends on how many are wanted.

A sample of a row gives a threshold that somewhat more than the wanted entries exceed, one pass copies those
that do, and only among these few the exact border is looked for, by a histogram. Nothing is sorted, and
entries stay in ascending order of their items.
"""

from __future__ import annotations

import numpy as np
from numba import njit

_BUCKETS = 256
_CHUNK = 32
_SAMPLE_STEP = 16
_SAMPLE_MARGIN = 2.5
"""Deviations of the sampled rank that the threshold stays on the safe side."""
_STEEP = 1e30
"""Buckets per unit of score beyond which a sample is one value for all that float32 can tell."""
_SMALL = 24
_RARE = 64
"""Items seen per entry kept from which on few chunks hold an entry above the threshold."""


@njit(nogil=True, cache=True)
def kth_largest(values, count, k, scratch, counts):  # type: ignore[no-untyped-def]
    """The k-th largest (k from 1) of the first ``count`` values; all finite.

    A histogram between the extremes leaves the few values of one bucket to look at; where it does not,
    because values are heaped up, the bucket is split again, and equal values end the search.

    Args:
        values: float32, at least ``count``.
        count: values that take part.
        k: rank, 1 .. count.
        scratch: float32 (>= count,), overwritten.
        counts: int64 (_BUCKETS,), overwritten.
    """
    for place in range(count):
        scratch[place] = values[place]
    while True:
        low, high = _extremes(scratch, count)
        if low == high:
            return low
        if count <= _SMALL:
            return _kth_of_few(scratch, count, k)
        scale = np.float64(_BUCKETS - 1) / (np.float64(high) - np.float64(low))
        counts[:] = 0
        for place in range(count):
            counts[np.int64((np.float64(scratch[place]) - low) * scale)] += 1
        bucket = _BUCKETS - 1
        while counts[bucket] < k:
            k -= counts[bucket]
            bucket -= 1
        kept = 0
        for place in range(count):
            value = scratch[place]
            scratch[kept] = value
            kept += np.int64((np.float64(value) - low) * scale) == bucket
        count = kept


@njit(nogil=True, cache=True, fastmath={"nnan", "nsz"})
def _extremes(values, count):  # type: ignore[no-untyped-def]
    """Least and greatest of the first ``count`` values; without NaN vector instructions will do."""
    low = high = values[0]
    for place in range(1, count):
        low = min(low, values[place])
        high = max(high, values[place])
    return low, high


@njit(nogil=True, cache=True)
def _kth_of_few(values, count, k):  # type: ignore[no-untyped-def]
    """The k-th largest by insertion sort; ``values`` are reordered."""
    for place in range(1, count):
        value = values[place]
        at = place
        while at > 0 and values[at - 1] < value:
            values[at] = values[at - 1]
            at -= 1
        values[at] = value
    return values[k - 1]


@njit(nogil=True, cache=True)
def _columns_above(row, threshold, columns):  # type: ignore[no-untyped-def]
    """Columns of the entries of ``row`` above ``threshold``, ascending; returns their number."""
    count = 0
    for column in range(len(row)):
        columns[count] = column  # always written, counted if it holds: no branch to mispredict
        count += row[column] > threshold
    return count


@njit(nogil=True, cache=True)
def _rare_columns_above(row, threshold, columns):  # type: ignore[no-untyped-def]
    """As :func:`_columns_above`, faster where few chunks hold such an entry."""
    count, start, size = 0, 0, len(row)
    while start < size:
        stop = min(start + _CHUNK, size)
        above = np.int32(0)
        for column in range(start, stop):
            above += np.int32(row[column] > threshold)
        if above > 0:
            for column in range(start, stop):
                columns[count] = column
                count += row[column] > threshold
        start = stop
    return count


@njit(nogil=True, cache=True)
def _sampled_threshold(row, wanted, sample, counts):  # type: ignore[no-untyped-def]
    """A value that somewhat more than ``wanted`` entries of the row exceed in all likelihood."""
    size = len(row) // _SAMPLE_STEP
    for place in range(size):
        sample[place] = row[place * _SAMPLE_STEP]
    expected = wanted / _SAMPLE_STEP
    rank = np.int64(expected + _SAMPLE_MARGIN * np.sqrt(expected)) + 2
    if rank >= size:
        return np.float32(-np.inf)
    low, high = _extremes(sample, size)
    scale = np.float32(_BUCKETS - 1) / (high - low) if high > low else np.float32(0)
    if not 0 < scale < _STEEP:
        return np.float32(-np.inf)
    counts[:] = 0
    for place in range(size):
        counts[np.int32((sample[place] - low) * scale)] += 1
    bucket = _BUCKETS
    while rank > 0:
        bucket -= 1
        rank -= counts[bucket]
    return low + np.float32(bucket) / scale  # the lower edge, give or take a rounding


@njit(nogil=True, cache=True)
def _candidates(row, threshold, capacity, rare, work):  # type: ignore[no-untyped-def]
    """Columns above ``threshold`` that may be among the best ``capacity`` of a row; returns their number."""
    columns, values, _, counts = work
    if rare:
        return _rare_columns_above(row, threshold, columns)
    if len(row) > 2 * capacity:
        guess = _sampled_threshold(row, capacity, values, counts)
        if guess > threshold:
            count = _columns_above(row, guess, columns)
            if count >= capacity:
                return count
    return _columns_above(row, threshold, columns)


@njit(nogil=True, cache=True)
def _merge(row, first_item, found, work, scores, items, fill, threshold):  # type: ignore[no-untyped-def]
    """Merge ``found`` columns of a row into its ``fill`` best entries; returns the new number of entries."""
    columns, values, scratch, counts = work
    capacity = len(scores) - 1
    values[:fill] = scores[:fill]
    for place in range(found):
        values[fill + place] = row[columns[place]]
    total = fill + found
    if total <= capacity:
        for place in range(found):
            scores[fill + place] = values[fill + place]
            items[fill + place] = first_item + columns[place]
        return total
    border = kth_largest(values, total, capacity, scratch, counts)
    threshold[0] = border
    surplus = -capacity
    for place in range(total):
        surplus += values[place] >= border
    place = total
    while surplus > 0:  # more entries equal the border than there is room for: those of the largest items go
        place -= 1
        if values[place] == border:
            values[place] = -np.inf
            surplus -= 1
    kept = 0
    for place in range(fill):
        scores[kept] = values[place]
        items[kept] = items[place]
        kept += values[place] >= border
    for place in range(found):
        scores[kept] = values[fill + place]
        items[kept] = first_item + columns[place]
        kept += values[fill + place] >= border
    return kept


@njit(nogil=True, cache=True)
def offer_block(block, first_item, thresholds, best_scores, best_items, fill):  # type: ignore[no-untyped-def]
    """Merge a block of scores into the best entries of every row, ties by smaller item.

    Args:
        block: (T, I) float32, finite; blocks come by ascending item.
        first_item: item of column 0.
        thresholds: (T,) float32, entries at or below are ignored; raised to the last entry of a full row.
        best_scores: (T, capacity + 1) float32; the first ``fill`` of a row are its entries, items ascending.
        best_items: (T, capacity + 1) int32 likewise.
        fill: (T,) int64 entries of every row.
    """
    width, capacity = block.shape[1], best_scores.shape[1] - 1
    columns = np.empty(width + 1, dtype=np.int32)
    values = np.empty(width + capacity, dtype=np.float32)
    scratch = np.empty(width + capacity, dtype=np.float32)
    counts = np.empty(_BUCKETS, dtype=np.int64)
    work = (columns, values, scratch, counts)
    rare = first_item > _RARE * capacity
    for row in range(len(block)):
        count = _candidates(block[row], thresholds[row], capacity, rare, work)
        fill[row] = _merge(
            block[row],
            first_item,
            count,
            work,
            best_scores[row],
            best_items[row],
            fill[row],
            thresholds[row : row + 1],
        )


@njit(nogil=True, cache=True)
def all_finite(block):  # type: ignore[no-untyped-def]
    """Whether every entry of (T, I) float32 scores is finite."""
    bad = 0
    for row in range(block.shape[0]):
        for column in range(block.shape[1]):
            value = block[row, column]
            bad += value - value != 0  # so it is for infinities and NaN
    return bad == 0


@njit(nogil=True, cache=True)
def emit_lists(scores, items, fill, floors, out_items, out_scores):  # type: ignore[no-untyped-def]
    """Write the entries above their row's floor, less the floor, one row after the other.

    Args:
        scores, items, fill: as in :func:`offer_block`.
        floors: (T,) float32.
        out_items, out_scores: long enough for all entries.

    Returns:
        (T,) int64 entries of every row.
    """
    lengths = np.empty(len(fill), dtype=np.int64)
    at = 0
    for row in range(len(fill)):
        begin = at
        for place in range(fill[row]):  # never written past place entries, so the last one stays in bounds
            score = scores[row, place] - floors[row]
            out_items[at] = items[row, place]
            out_scores[at] = score
            at += score > 0
        lengths[row] = at - begin
    return lengths


@njit(nogil=True, cache=True)
def smallest_scores(scores, fill, capacity, signed):  # type: ignore[no-untyped-def]
    """(T,) float32 smallest entry of every row that is full, or not empty and ``signed``; 0 of the others."""
    floors = np.zeros(len(fill), dtype=np.float32)
    for row in range(len(fill)):
        if fill[row] == capacity or (signed and fill[row] > 0):
            low = scores[row, 0]
            for place in range(1, fill[row]):
                low = min(low, scores[row, place])
            floors[row] = low
    return floors

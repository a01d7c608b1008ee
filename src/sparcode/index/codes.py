"""Codes and term ids: the two names of a quantized token.

A code is a row of ``num_codebooks`` codeword numbers; its term id is the same number written in base
``codebook_size`` with codebook 0 most significant, so that term ids sort like codes.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from sparcode.errors import UsageError

_MAX_TERM_ID = np.iinfo(np.int64).max


def count_terms(num_codebooks: int, codebook_size: int) -> int:
    """Number of terms ``codebook_size ** num_codebooks``.

    Raises:
        UsageError: fewer than one codebook or codeword, or term ids that do not fit in int64.
    """
    if num_codebooks < 1 or codebook_size < 1:
        raise UsageError(
            "a code needs at least one codebook with one codeword",
            expected="num_codebooks >= 1 and codebook_size >= 1",
            received=f"num_codebooks={num_codebooks}, codebook_size={codebook_size}",
        )
    num_terms = int(codebook_size) ** int(num_codebooks)
    if num_terms - 1 > _MAX_TERM_ID:
        raise UsageError(
            "term ids do not fit in 64 bits",
            expected=f"codebook_size ** num_codebooks <= {_MAX_TERM_ID + 1}",
            received=f"{codebook_size} ** {num_codebooks}",
        )
    return num_terms


def encode_terms(codes: ArrayLike, codebook_size: int) -> NDArray[np.int64]:
    """Flatten codes into term ids.

    Args:
        codes: (.., M) int, each in [0, codebook_size).
        codebook_size: codewords per codebook.

    Returns:
        (..) int64 term ids in [0, codebook_size ** M).

    Raises:
        UsageError: not integers, no codebook axis, or a codeword number out of range.
    """
    codes = _integers(codes, "codes")
    if codes.ndim < 1:
        raise UsageError("codes have no codebook axis", expected="shape (.., M)", received=codes.shape)
    count_terms(codes.shape[-1], codebook_size)
    _check_range(codes, codebook_size, "codeword number")
    term_ids = np.zeros(codes.shape[:-1], dtype=np.int64)
    for m in range(codes.shape[-1]):
        term_ids = term_ids * codebook_size + codes[..., m]
    return np.asarray(term_ids, dtype=np.int64)


def decode_terms(term_ids: ArrayLike, num_codebooks: int, codebook_size: int) -> NDArray[np.int32]:
    """Codes of term ids, the inverse of :func:`encode_terms`.

    Args:
        term_ids: (..) int in [0, codebook_size ** num_codebooks).
        num_codebooks: M.
        codebook_size: N.

    Returns:
        (.., M) int32 codes.

    Raises:
        UsageError: not integers, or a term id out of range.
    """
    terms = _integers(term_ids, "term_ids")
    _check_range(terms, count_terms(num_codebooks, codebook_size), "term id")
    codes = np.empty((*terms.shape, num_codebooks), dtype=np.int32)  # (.., M)
    rest = terms
    for m in reversed(range(num_codebooks)):
        rest, codes[..., m] = np.divmod(rest, codebook_size)
    return codes


def codewords_of_terms(codebooks: NDArray[np.float32], term_ids: ArrayLike) -> NDArray[np.float32]:
    """Quantized tokens that term ids stand for: the concatenated codewords of each code.

    Args:
        codebooks: (M, N, D/M) float32.
        term_ids: (T,) int in [0, N ** M).

    Returns:
        (T, D) float32.

    Raises:
        UsageError: codebooks of another rank, or a term id out of range.
    """
    codebooks = np.asarray(codebooks, dtype=np.float32)
    if codebooks.ndim != 3:
        raise UsageError("codebooks have a wrong rank", expected="(M, N, D/M)", received=codebooks.shape)
    num_codebooks, codebook_size, _ = codebooks.shape
    codes = decode_terms(term_ids, num_codebooks, codebook_size)
    if codes.ndim != 2:
        raise UsageError("term_ids have a wrong rank", expected="(T,)", received=codes.shape[:-1])
    words = codebooks[np.arange(num_codebooks), codes]  # (T, M, D/M)
    return words.reshape(len(codes), -1)  # (T, D)


def _integers(values: ArrayLike, name: str) -> NDArray[np.int64]:
    array = np.asarray(values)
    if array.size and not np.issubdtype(array.dtype, np.integer):
        raise UsageError(f"{name} are not integers", expected="an integer array", received=array.dtype)
    return array.astype(np.int64, copy=False)


def _check_range(values: NDArray[np.int64], stop: int, name: str) -> None:
    wrong = (values < 0) | (values >= stop)
    if wrong.any():
        raise UsageError(f"{name} out of range", expected=f"0 to {stop - 1}", received=int(values[wrong][0]))

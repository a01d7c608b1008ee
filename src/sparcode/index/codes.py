"""Codes and term ids: the two names of a quantized token.

A code is a row of ``num_codebooks`` codeword numbers of one slot. Its term id is ``slot * N ** M`` plus the
same number written in base N = ``codebook_size`` with codebook 0 most significant, so that term ids sort like
(slot, code). A slot is a place among the tokens of a query that has codebooks of its own; there is a single
one when all tokens share their codebooks.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from sparcode.errors import UsageError

_MAX_TERM_ID = np.iinfo(np.int64).max


def count_terms(num_codebooks: int, codebook_size: int, num_slots: int = 1) -> int:
    """Number of terms ``num_slots * codebook_size ** num_codebooks``.

    Raises:
        UsageError: no slot, codebook or codeword, or term ids that do not fit in int64.
    """
    if num_codebooks < 1 or codebook_size < 1 or num_slots < 1:
        raise UsageError(
            "a code needs at least one slot and one codebook with one codeword",
            expected="num_slots, num_codebooks and codebook_size >= 1",
            received=f"num_slots={num_slots}, num_codebooks={num_codebooks}, codebook_size={codebook_size}",
        )
    num_terms = int(num_slots) * int(codebook_size) ** int(num_codebooks)
    if num_terms - 1 > _MAX_TERM_ID:
        raise UsageError(
            "term ids do not fit in 64 bits",
            expected=f"num_slots * codebook_size ** num_codebooks <= {_MAX_TERM_ID + 1}",
            received=f"{num_slots} * {codebook_size} ** {num_codebooks}",
        )
    return num_terms


def encode_terms(codes: ArrayLike, codebook_size: int, slots: ArrayLike = 0) -> NDArray[np.int64]:
    """Flatten codes into term ids.

    Args:
        codes: (.., M) int, each in [0, codebook_size).
        codebook_size: codewords per codebook.
        slots: int, slot of each code, of shape (..) or one that broadcasts to it.

    Returns:
        (..) int64 term ids.

    Raises:
        UsageError: not integers, no codebook axis, or a number out of range.
    """
    codes, slots = _integers(codes, "codes"), _integers(slots, "slots")
    if codes.ndim < 1:
        raise UsageError("codes have no codebook axis", expected="shape (.., M)", received=codes.shape)
    per_slot = count_terms(codes.shape[-1], codebook_size)
    count_terms(codes.shape[-1], codebook_size, int(slots.max(initial=0)) + 1)
    _check_range(codes, codebook_size, "codeword number")
    if (slots < 0).any():
        raise UsageError("slot out of range", expected="0 or more", received=int(slots.min()))
    term_ids = np.zeros(codes.shape[:-1], dtype=np.int64)
    for m in range(codes.shape[-1]):
        term_ids = term_ids * codebook_size + codes[..., m]
    return np.asarray(term_ids + slots * per_slot, dtype=np.int64)


def decode_terms(
    term_ids: ArrayLike, num_codebooks: int, codebook_size: int, num_slots: int = 1
) -> tuple[NDArray[np.int64], NDArray[np.int32]]:
    """Slots and codes of term ids, the inverse of :func:`encode_terms`.

    Args:
        term_ids: (..) int in [0, num_slots * codebook_size ** num_codebooks).
        num_codebooks: M.
        codebook_size: N.
        num_slots: S.

    Returns:
        (..) int64 slots and (.., M) int32 codes.

    Raises:
        UsageError: not integers, or a term id out of range.
    """
    terms = _integers(term_ids, "term_ids")
    _check_range(terms, count_terms(num_codebooks, codebook_size, num_slots), "term id")
    slots, rest = np.divmod(terms, count_terms(num_codebooks, codebook_size))
    codes = np.empty((*terms.shape, num_codebooks), dtype=np.int32)  # (.., M)
    for m in reversed(range(num_codebooks)):
        rest, codes[..., m] = np.divmod(rest, codebook_size)
    return slots, codes


def tokens_of_terms(codebooks: NDArray[np.float32], term_ids: ArrayLike) -> NDArray[np.float32]:
    """Tokens that term ids stand for, as the interaction scorer reads them.

    A token is the sum of what its M codewords contribute: codeword ``c`` of codebook ``m`` of slot ``s`` adds
    ``codebooks[s, m, c]``. Product quantization with any affine map behind it has this form, and so has
    residual quantization.

    Args:
        codebooks: (S, M, N, d) float32.
        term_ids: (T,) int in [0, S * N ** M).

    Returns:
        (T, d) float32.

    Raises:
        UsageError: codebooks of another rank, or a term id out of range.
    """
    codebooks = np.asarray(codebooks, dtype=np.float32)
    if codebooks.ndim != 4:
        raise UsageError("codebooks have a wrong rank", expected="(S, M, N, d)", received=codebooks.shape)
    num_slots, num_codebooks, codebook_size, _ = codebooks.shape
    slots, codes = decode_terms(term_ids, num_codebooks, codebook_size, num_slots)
    if codes.ndim != 2:
        raise UsageError("term_ids have a wrong rank", expected="(T,)", received=codes.shape[:-1])
    tokens = codebooks[slots, 0, codes[:, 0]]
    for m in range(1, num_codebooks):
        tokens = tokens + codebooks[slots, m, codes[:, m]]
    return tokens  # (T, d)


def _integers(values: ArrayLike, name: str) -> NDArray[np.int64]:
    array = np.asarray(values)
    if array.size and not np.issubdtype(array.dtype, np.integer):
        raise UsageError(f"{name} are not integers", expected="an integer array", received=array.dtype)
    return array.astype(np.int64, copy=False)


def _check_range(values: NDArray[np.int64], stop: int, name: str) -> None:
    wrong = (values < 0) | (values >= stop)
    if wrong.any():
        raise UsageError(f"{name} out of range", expected=f"0 to {stop - 1}", received=int(values[wrong][0]))

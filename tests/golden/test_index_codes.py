"""Term ids and tokens worked out by hand."""

import numpy as np
import pytest

from sparcode.errors import UsageError
from sparcode.index import count_terms, decode_terms, encode_terms, tokens_of_terms


def test_codebook_zero_is_the_most_significant_digit() -> None:
    assert encode_terms([[0, 0], [0, 3], [1, 0], [2, 1]], 4).tolist() == [0, 3, 4, 9]
    assert encode_terms([[[1, 2, 3]]], 10).tolist() == [[123]]
    slots, codes = decode_terms([[123, 7]], 3, 10)
    assert slots.tolist() == [[0, 0]]
    assert codes.tolist() == [[[1, 2, 3], [0, 0, 7]]]


def test_the_slot_stands_before_all_codebooks() -> None:
    """Three slots of 4 ** 2 terms: slot 1 begins at 16, slot 2 at 32."""
    codes = [[[0, 0], [0, 0], [0, 0]], [[2, 1], [2, 1], [3, 3]]]  # two queries of three tokens
    assert encode_terms(codes, 4, [0, 1, 2]).tolist() == [[0, 16, 32], [9, 25, 47]]
    assert encode_terms([2, 1], 4, 2).tolist() == 41
    slots, found = decode_terms([9, 25, 47], 2, 4, 3)
    assert slots.tolist() == [0, 1, 2]
    assert found.tolist() == [[2, 1], [2, 1], [3, 3]]
    assert (found.dtype, slots.dtype) == (np.int32, np.int64)
    assert count_terms(2, 4, 3) == 48


def test_a_token_is_the_sum_of_its_codewords() -> None:
    codebooks = np.array([[[[0.0, 1.0], [2.0, 3.0]], [[10.0, 20.0], [30.0, 40.0]]]], dtype=np.float32)
    tokens = tokens_of_terms(codebooks, [1, 2])  # codes (0, 1) and (1, 0)
    assert tokens.tolist() == [[30.0, 41.0], [12.0, 23.0]]
    assert tokens.dtype == np.float32


def test_every_slot_has_codewords_of_its_own() -> None:
    """S = 2, M = 1, N = 2, d = 1."""
    codebooks = np.array([[[[1.0], [2.0]]], [[[-5.0], [7.0]]]], dtype=np.float32)
    assert tokens_of_terms(codebooks, [3, 0, 2, 1]).tolist() == [[7.0], [1.0], [-5.0], [2.0]]


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: encode_terms([[0, 4]], 4), "codeword number out of range; expected 0 to 3; received 4"),
        (lambda: encode_terms([[-1, 0]], 4), "received -1"),
        (lambda: encode_terms([[0.5]], 4), "codes are not integers"),
        (lambda: encode_terms([[1]], 4, 0.5), "slots are not integers"),
        (lambda: encode_terms([[1], [1]], 4, [0, -1]), "slot out of range; expected 0 or more; received -1"),
        (lambda: encode_terms([[1]], 2**32, 2**31), "64 bits"),
        (lambda: encode_terms(3, 4), "no codebook axis"),
        (lambda: decode_terms([16], 2, 4), "term id out of range; expected 0 to 15; received 16"),
        (lambda: decode_terms([48], 2, 4, 3), "term id out of range; expected 0 to 47; received 48"),
        (lambda: count_terms(0, 4), "at least one slot and one codebook"),
        (lambda: count_terms(1, 4, 0), "num_slots=0"),
        (lambda: count_terms(16, 256), "64 bits"),
        (lambda: count_terms(7, 256, 256), r"64 bits.*received 256 \* 256 \*\* 7"),
        (lambda: tokens_of_terms(np.zeros((2, 4, 1), np.float32), [0]), "wrong rank"),
        (lambda: tokens_of_terms(np.zeros((1, 2, 4, 1), np.float32), [[0]]), "wrong rank"),
        (lambda: tokens_of_terms(np.zeros((3, 2, 4, 1), np.float32), [48]), "expected 0 to 47"),
    ],
)
def test_wrong_input_is_named(call, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        call()


def test_the_largest_term_id_is_allowed() -> None:
    """2 ** 63 terms: their last id is the largest int64."""
    assert count_terms(7, 256, 128) == 2**63
    assert encode_terms([255] * 7, 256, 127).tolist() == 2**63 - 1
    slots, codes = decode_terms([2**63 - 1], 7, 256, 128)
    assert (slots.tolist(), codes.tolist()) == ([127], [[255] * 7])

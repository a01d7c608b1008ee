"""Term ids worked out by hand."""

import numpy as np
import pytest

from sparcode.errors import UsageError
from sparcode.index import codewords_of_terms, count_terms, decode_terms, encode_terms


def test_codebook_zero_is_the_most_significant_digit() -> None:
    assert encode_terms([[0, 0], [0, 3], [1, 0], [2, 1]], 4).tolist() == [0, 3, 4, 9]
    assert encode_terms([[[1, 2, 3]]], 10).tolist() == [[123]]
    assert decode_terms([[123, 7]], 3, 10).tolist() == [[[1, 2, 3], [0, 0, 7]]]


def test_codewords_are_concatenated_in_codebook_order() -> None:
    codebooks = np.array([[[0.0, 1.0], [2.0, 3.0]], [[10.0, 11.0], [12.0, 13.0]]], dtype=np.float32)
    tokens = codewords_of_terms(codebooks, [1, 2])  # codes (0, 1) and (1, 0)
    assert tokens.tolist() == [[0.0, 1.0, 12.0, 13.0], [2.0, 3.0, 10.0, 11.0]]
    assert tokens.dtype == np.float32


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: encode_terms([[0, 4]], 4), "codeword number out of range; expected 0 to 3; received 4"),
        (lambda: encode_terms([[-1, 0]], 4), "received -1"),
        (lambda: encode_terms([[0.5]], 4), "not integers"),
        (lambda: encode_terms(3, 4), "no codebook axis"),
        (lambda: decode_terms([16], 2, 4), "term id out of range; expected 0 to 15; received 16"),
        (lambda: count_terms(0, 4), "at least one codebook"),
        (lambda: count_terms(16, 256), "64 bits"),
        (lambda: codewords_of_terms(np.zeros((2, 4), np.float32), [0]), "wrong rank"),
        (lambda: codewords_of_terms(np.zeros((2, 4, 1), np.float32), [[0]]), "wrong rank"),
    ],
)
def test_wrong_input_is_named(call, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        call()

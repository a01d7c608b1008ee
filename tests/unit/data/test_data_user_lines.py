"""One user a line: ordered files, pre-split directories, maps, attributes, bad input."""

from __future__ import annotations

import json

import numpy as np
import pytest

from sparcode.data.dataset import preprocess
from sparcode.data.user_lines import read_user_lines
from sparcode.errors import DataError


def test_ordered_file_with_attributes(write, make_config):
    path = write("beauty.txt", "7 30 10 20\n\n3 20 10 30 5\n")
    write("beauty_item2attributes.json", json.dumps({"10": [4, 2], "30": [2], "99": [8]}))
    data = preprocess(make_config("user_lines", path=str(path)))
    assert data.user_ids == ["3", "7"]
    assert data.item_ids == ["5", "10", "20", "30"]
    assert data.ordered
    assert [data.item_ids[i - 1] for i in data.train.of(0)] == ["20", "10"]
    assert [data.item_ids[i - 1] for i in data.valid.of(0)] == ["30"]
    assert [data.item_ids[i - 1] for i in data.test.of(0)] == ["5"]
    assert data.item_vocab["attributes"] == ["", "2", "4"]
    np.testing.assert_array_equal(data.item_arrays["attributes"], [[0, 0], [0, 0], [1, 2], [0, 0], [1, 0]])


def test_pre_split_directory_with_maps_and_metadata(write, make_config):
    write("train.txt", "0 0 1 2\n1 2 3\n")
    write("test.txt", "0 3\n1 4\n")
    write("item_map.txt", "1193 0\n661 1\n914 2\n3408 3\n2355 4\n")
    write("user_map.txt", "1 0\n2 1\n")
    write("users.dat", "2::M::56::16::70072\n1::F::1::10::48067\n")
    write("movies.dat", "1193::Drama Caf\xe9 (1975)::Drama\n661::No Year::Comedy|Drama\n".encode("latin-1"))
    data = preprocess(make_config("user_lines", protocol="pre_split", valid_ratio=0.34))
    assert not data.ordered
    assert data.item_ids == ["1193", "661", "914", "3408", "2355"]
    assert data.user_ids == ["1", "2"]
    assert data.test.of(0).tolist() == [4]
    assert data.test.of(1).tolist() == [5]
    assert sorted([*data.train.of(0), *data.valid.of(0)]) == [1, 2, 3]
    assert data.valid.counts().tolist() == [1, 1]
    assert data.item_vocab["genres"] == ["", "Comedy", "Drama"]
    assert data.item_arrays["genres"].tolist() == [[0, 0], [2, 0], [1, 2], [0, 0], [0, 0], [0, 0]]
    assert data.item_arrays["year"].tolist() == [0, 1, 0, 0, 0, 0]
    assert data.user_vocab["zip_region"] == ["", "4", "7"]
    assert data.user_arrays["zip_region"].tolist() == [1, 2]


def test_random_validation_is_a_function_of_the_seed(write, make_config):
    write("train.txt", "".join(f"{u} {' '.join(map(str, range(20)))}\n" for u in range(10)))
    write("test.txt", "".join(f"{u} 20\n" for u in range(10)))
    first = preprocess(make_config("user_lines", protocol="pre_split", split_seed=1))
    again = preprocess(make_config("user_lines", protocol="pre_split", split_seed=1))
    other = preprocess(make_config("user_lines", protocol="pre_split", split_seed=2))
    assert first.fingerprint == again.fingerprint
    assert first.fingerprint != other.fingerprint


@pytest.mark.parametrize(
    ("text", "line", "what"),
    [
        ("1 2 3\n2 x 4\n", 2, "id is not a non-negative integer; received 'x'"),
        ("1 2 3\n\n2 -4\n", 3, "received '-4'"),
        ("1 1_0\n", 1, "received '1_0'"),
        ("1 2.5\n", 1, "received '2.5'"),
        ("1 99999999999999999999\n", 1, "id overflows"),
        ("1 9223372036854775808\n", 1, "id overflows"),
        ("9223372036854775808 1\n", 1, "id overflows"),
        ("1 2\n5\n", 2, "user has no item"),
        ("1 2\n2 3\n1 4\n", 3, "user has two lines"),
    ],
)
def test_bad_lines_are_named(write, make_config, text, line, what):
    path = write("lines.txt", text)
    with pytest.raises(DataError) as caught:
        read_user_lines(make_config("user_lines", path=str(path)))
    assert str(caught.value).startswith(f"{path}:{line}: ")
    assert what in str(caught.value)


def test_largest_id_is_accepted(write, make_config):
    path = write("lines.txt", "1 9223372036854775807 5\n")
    raw = read_user_lines(make_config("user_lines", path=str(path)))
    assert raw.item_ids == ["5", "9223372036854775807"]


@pytest.mark.parametrize("text", ["", "\n \n"])
def test_empty_file(write, make_config, text):
    path = write("lines.txt", text)
    with pytest.raises(DataError, match=r"empty|blank"):
        read_user_lines(make_config("user_lines", path=str(path)))


def test_missing_file_and_missing_test_part(write, make_config, tmp_path):
    with pytest.raises(DataError, match=r"nowhere.*does not exist"):
        read_user_lines(make_config("user_lines", path=str(tmp_path / "nowhere.txt")))
    write("train.txt", "1 2 3\n")
    with pytest.raises(DataError, match=r"test\.txt.*does not exist"):
        read_user_lines(make_config("user_lines"))


def test_directory_with_several_files_is_ambiguous(write, make_config):
    write("a.txt", "1 2\n")
    write("b.txt", "1 2\n")
    with pytest.raises(DataError, match=r"exactly one \.txt file; received a\.txt, b\.txt"):
        read_user_lines(make_config("user_lines"))


def test_duplicate_is_reported_with_its_line(write, make_config):
    path = write("lines.txt", "1 5 6 7\n\n2 5 6 5 8\n")
    with pytest.raises(DataError) as caught:
        preprocess(make_config("user_lines", path=str(path), duplicates="error"))
    assert str(caught.value).startswith(f"{path}:3: duplicate interaction; received user 2, item 5")


def test_duplicate_across_train_and_test_names_the_test_file(write, make_config):
    write("train.txt", "1 5 6 7\n")
    write("test.txt", "1 6\n")
    with pytest.raises(DataError, match=r"test\.txt:1: duplicate interaction"):
        preprocess(make_config("user_lines", protocol="pre_split", duplicates="error"))


@pytest.mark.parametrize(
    ("text", "what"),
    [
        ("1 0\n", "id is not in the map; received 2"),
        ("1 0\n1 2\n", "same original id"),
        ("1\n", "malformed line"),
    ],
)
def test_bad_maps(write, make_config, text, what):
    write("train.txt", "0 0 2\n")
    write("test.txt", "0 0\n")
    write("item_map.txt", text)
    with pytest.raises(DataError, match=what):
        read_user_lines(make_config("user_lines", protocol="pre_split"))


@pytest.mark.parametrize("text", ["{", "[1]", '{"1": 2}'])
def test_bad_attributes(write, make_config, text):
    path = write("lines.txt", "1 2 3 4\n")
    write("lines_item2attributes.json", text)
    with pytest.raises(DataError, match="item2attributes"):
        read_user_lines(make_config("user_lines", path=str(path)))


def test_known_counts_are_checked(write, make_config):
    path = write("lines.txt", "1 2 3 4\n")
    with pytest.raises(
        DataError, match="22363 users, 12101 items, 198502 interactions; received 1 users, 3 items"
    ):
        preprocess(make_config("user_lines", path=str(path), name="amazon-beauty"))

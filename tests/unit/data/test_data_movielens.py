"""MovieLens distributions: both rating formats, metadata, and every kind of bad line."""

from __future__ import annotations

import pytest

from sparcode.data import text_tables
from sparcode.data.dataset import preprocess
from sparcode.data.movielens import read_movielens
from sparcode.errors import DataError

RATINGS = "1::10::5::300\n1::20::3.5::100\n1::30::4::200\n2::10::1::50\n2::30::5::60\n2::40::5::60\n"
HEADER = "userId,movieId,rating,timestamp\n"


def test_ratings_dat_is_sorted_by_time_with_features(write, make_config):
    write("ratings.dat", RATINGS)
    write(
        "movies.dat", "10::A (1995)::Drama\n20::B (1990)::(no genres listed)\n30::C, The (1995)::Drama|War\n"
    )
    write("users.dat", "1::F::1::10::48067\n")
    data = preprocess(make_config("movielens"))
    assert data.user_ids == ["1", "2"]
    assert data.item_ids == ["10", "20", "30", "40"]
    assert [data.train.of(0).tolist(), data.valid.of(0).tolist(), data.test.of(0).tolist()] == [[2], [3], [1]]
    # User 2: items 30 and 40 have the same timestamp and keep the order of the file.
    assert [data.train.of(1).tolist(), data.valid.of(1).tolist(), data.test.of(1).tolist()] == [[1], [3], [4]]
    assert data.item_vocab == {"genres": ["", "Drama", "War"], "year": ["", "1990", "1995"]}
    assert data.item_arrays["genres"].tolist() == [[0, 0], [1, 0], [0, 0], [1, 2], [0, 0]]
    assert data.item_arrays["year"].tolist() == [0, 2, 1, 2, 0]
    assert data.user_arrays["gender"].tolist() == [1, 0]


def test_csv_and_dat_give_the_same_data_set(write, make_config, tmp_path):
    write("ratings.dat", RATINGS)
    dat = preprocess(make_config("movielens"))
    path = write("csv/ratings.csv", HEADER + RATINGS.replace("::", ",").replace("\n", "\r\n"))
    csv = preprocess(make_config("movielens", path=str(path.parent), dataset_dir=str(tmp_path / "out2")))
    assert csv.fingerprint == dat.fingerprint


def test_movies_csv_with_quoted_title(write, make_config):
    write("ratings.csv", HEADER + "1,7,5,1\n1,8,5,2\n1,9,5,3\n")
    write(
        "movies.csv", 'movieId,title,genres\n7,"American President, The (1995)",Comedy|Drama\n8,Plain,Drama\n'
    )
    data = preprocess(make_config("movielens"))
    assert data.item_arrays["genres"].tolist() == [[0, 0], [1, 2], [2, 0], [0, 0]]
    assert data.item_arrays["year"].tolist() == [0, 1, 0, 0]


def test_min_rating(write, make_config):
    write("ratings.dat", RATINGS)
    data = preprocess(make_config("movielens", min_rating=3.5))
    assert data.counts["interactions"] == 5
    assert data.counts["raw_interactions"] == 6


BAD_FIELDS = [
    ("2::10::1", "malformed line; expected 4 fields separated by '::'; received 3 fields"),
    ("2::10::1::50::9", "malformed line"),
    ("x::10::1::50", "userId is not an integer; received 'x'"),
    ("2::-10::1::50", "movieId is negative; received '-10'"),
    ("2::10::five::50", "rating is not a number; received 'five'"),
    ("2::10::nan::50", "rating is NaN"),
    ("2::10::1::-50", "timestamp is negative; received '-50'"),
    ("2::10::1::NaN", "timestamp is NaN"),
    ("2::10::1::", "timestamp is not an integer; received ''"),
    ("2::10::1::1.5", "timestamp is not an integer; received '1.5'"),
    ("2::99999999999999999999::1::50", "movieId overflows"),
    ("2::10::1::9223372036854775808", "timestamp overflows"),
]


@pytest.mark.parametrize(("line", "what"), BAD_FIELDS)
@pytest.mark.parametrize("suffix", ["dat", "csv"])
def test_bad_lines_are_named(write, make_config, line, what, suffix):
    text = "1::10::5::300\n1::20::5::100\n\n" + line + "\n3::30::5::1\n"
    number = 4
    if suffix == "csv":
        text, what, number = HEADER + text.replace("::", ","), what.replace("::", ","), 5
    path = write(f"ratings.{suffix}", text)
    with pytest.raises(DataError) as caught:
        read_movielens(make_config("movielens"))
    assert str(caught.value).startswith(f"{path}:{number}: ")
    assert what in str(caught.value)


@pytest.mark.parametrize("bad", [0, 1, 57, 198, 199])
def test_bad_line_is_found_in_every_block(write, make_config, monkeypatch, bad):
    monkeypatch.setattr(text_tables, "BLOCK_BYTES", 64)
    lines = [f"{row % 9},{row},4.5,{1000 + row}" for row in range(200)]
    path = write("ratings.csv", HEADER + "\n".join(lines) + "\n")
    assert len(read_movielens(make_config("movielens")).users) == 200
    lines[bad] = "1,2,3.0,-1"
    lines[199] = lines[199] if bad == 199 else "never reached"
    write("ratings.csv", HEADER + "\n".join(lines) + "\n")
    with pytest.raises(DataError) as caught:
        read_movielens(make_config("movielens"))
    assert str(caught.value).startswith(f"{path}:{bad + 2}: timestamp is negative")


@pytest.mark.parametrize(
    ("text", "what"), [("", "file is empty"), (HEADER, "holds no rows"), ("a,b\n", "userId")]
)
def test_files_without_rows(write, make_config, text, what):
    write("ratings.csv", text)
    with pytest.raises(DataError, match=what):
        read_movielens(make_config("movielens"))


def test_missing_ratings(write, make_config):
    write("movies.dat", "10::A (1995)::Drama\n")
    with pytest.raises(
        DataError, match=r"no ratings in the directory; expected ratings\.dat or ratings\.csv"
    ):
        read_movielens(make_config("movielens"))


@pytest.mark.parametrize(
    ("name", "text", "line"),
    [
        ("movies.dat", "10::A (1995)::Drama\n20::B\n", 2),
        ("movies.dat", "ten::A (1995)::Drama\n", 1),
        ("movies.csv", "movieId,title,genres\n10,A\n", 2),
        ("movies.csv", "id,title,genres\n10,A,Drama\n", 1),
        ("users.dat", "1::F::1::10::48067\n2::M::1::10\n", 2),
    ],
)
def test_bad_metadata(write, make_config, name, text, line):
    write("ratings.dat", RATINGS)
    path = write(name, text)
    with pytest.raises(DataError) as caught:
        read_movielens(make_config("movielens"))
    assert str(caught.value).startswith(f"{path}:{line}: ")


def test_duplicate_is_reported_with_its_line(write, make_config):
    path = write("ratings.csv", HEADER + "1,10,5,300\n\n1,20,5,100\n1,10,4,50\n")
    with pytest.raises(DataError) as caught:
        preprocess(make_config("movielens", duplicates="error"))
    assert str(caught.value).startswith(f"{path}:5: duplicate interaction; received user 1, item 10")


def test_nothing_left_after_filtering(write, make_config):
    write("ratings.dat", RATINGS)
    with pytest.raises(DataError, match="no interaction is left after filtering"):
        preprocess(make_config("movielens", min_user_interactions=10))

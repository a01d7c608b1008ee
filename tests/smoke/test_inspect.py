"""preprocess.py --inspect: from the files of a shop to a configuration that works as it is."""

from __future__ import annotations

from pathlib import Path

import polars as pl
import preprocess
import pytest

from own_shop import JUNK, write_shop
from sparcode.config.loader import load_config
from sparcode.data.dataset import Dataset
from sparcode.data.inspection import guess_kind


def inspect(capsys: pytest.CaptureFixture[str], *paths: Path) -> tuple[str, str]:
    preprocess.main(["--inspect", *map(str, paths)])
    printed = capsys.readouterr()
    return printed.out, printed.err


def test_the_printed_configuration_preprocesses_the_shop(tmp_path, capsys, monkeypatch):
    shop = write_shop(tmp_path / "shop")
    yaml, report = inspect(capsys, shop)
    assert 12 <= len(yaml.splitlines()) <= 40
    assert f"about {len(JUNK)} of 1,023 rows cannot be used" in report
    file = tmp_path / "shop.yaml"
    file.write_text(yaml)
    table = load_config(file).data.table
    assert (table.user_column, table.item_column, table.timestamp_column) == ("user", "item", "event_time")
    assert table.events == {"cart": 2.0, "purchase": 3.0, "view": 1.0}
    kinds = {name: column.kind for name, column in table.items.features.items()}
    assert kinds == {
        "title": "title",
        "brand": "categorical",
        "category": "path",
        "price": "number",
        "tags": "multi",
        "emb": "embedding",
    }
    monkeypatch.chdir(tmp_path)
    preprocess.main(["--config_path", str(file)])
    assert "bad rows" in capsys.readouterr().out
    data = Dataset.load(tmp_path / "datasets" / "shop")
    assert data.counts["bad_rows"] == len(JUNK)
    assert data.counts["interactions"] == 60 * 17
    assert data.train.weights is not None


def test_separator_encoding_and_names_of_another_shop(tmp_path, capsys):
    log = tmp_path / "log.txt"
    rows = [f"käufer{n % 9};sku{n % 13};{1 + n % 28:02d}.03.2024;{1 + n % 5}" for n in range(300)]
    log.write_bytes("\n".join(["CustomerID;SKU;Date;Stars", *rows, ""]).encode("latin-1"))
    yaml, _ = inspect(capsys, log)
    file = tmp_path / "c.yaml"
    file.write_text(yaml)
    table = load_config(file).data.table
    assert (table.user_column, table.item_column, table.rating_column) == ("CustomerID", "SKU", "Stars")
    assert (table.separator, table.encoding, table.time_format) == (";", "latin-1", "%d.%m.%Y")


@pytest.mark.parametrize(
    ("values", "kind"),
    [
        (["red", "blue"] * 20, "categorical"),
        (["Shoes > A", "Home > B"] * 20, {"kind": "path", "separator": ">"}),
        ([f"{n}.5" for n in range(40)], "number"),
        (["1", "2", "3"] * 20, "categorical"),
        ([f"a long name, number {n}" for n in range(40)], "title"),
        ([f"k{n}" for n in range(40)], None),
        ([[1.0, 2.0]] * 40, "embedding"),
        ([["a", "b"]] * 40, "multi"),
        ([""] * 40, None),
    ],
)
def test_kinds(values, kind):
    assert guess_kind(pl.Series("x", values)) == kind

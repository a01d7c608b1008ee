"""A small shop as three CSV files, with a few rows that cannot be used."""

from __future__ import annotations

from pathlib import Path

import numpy as np

JUNK = ("u1,,2026-06-01T00:00:00Z,view", "u1,a2,not a date,view", "u1,a2,2026-06-01T00:00:00Z")
CATEGORIES = ("Shoes/Boots", "Shoes/Sport", "Home/Kitchen", "Home/Garden")


def write_shop(directory: Path, users: int = 60, items: int = 40, junk: bool = True) -> Path:
    """Writes items.csv, users.csv and views.csv: 17 views a user."""
    directory.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(3)
    rows = ["item_id,title,brand,category,price,tags,emb_0,emb_1,emb_2,emb_10"]
    for item in range(items):
        price = "" if item % 9 == 0 else f"{5 + item}.5"
        tags = "|".join(["sale", "new", "eco"][: item % 4])
        vector = ",".join(str(item + k) for k in range(4))
        title = f'"Article no. {item}, ""new"""'
        rows.append(f"a{item},{title},brand{item % 5},{CATEGORIES[item % 4]},{price},{tags},{vector}")
    (directory / "items.csv").write_text("\n".join(rows) + "\n", encoding="utf-8")
    rows = ["user_id,country,age"]
    rows += [f"u{user},{['DE', 'FR', ''][user % 3]},{18 + user % 40}" for user in range(users)]
    (directory / "users.csv").write_text("\n".join(rows) + "\n", encoding="utf-8")
    views = []
    for user in range(users):
        for place, item in enumerate(rng.permutation(items)[:17]):
            event = ["view", "view", "cart", "purchase"][int(rng.integers(4))]
            views.append(f"u{user},a{item},2026-05-{1 + place:02d}T10:{user % 60:02d}:00Z,{event}")
    rows = [*views[:500], *(JUNK if junk else ()), *views[500:]]
    text = "user,item,event_time,event_type\n" + "\n".join(rows) + "\n"
    (directory / "views.csv").write_text(text, encoding="utf-8")
    return directory

# %% [markdown]
# # Your own data in Python
#
# From data frames to recommendations: train, evaluate beside the baselines, recommend with titles, filter,
# export. The shop below is made up; put your own data frames in its place. Run it as a script
# (`python examples/own_data.py`) or cell by cell in an editor that knows the percent format.

# %%
from pathlib import Path

import numpy as np
import pandas as pd

import sparcode

# %% [markdown]
# ## A small shop
#
# Customers look for articles of one or two categories in their price range, and return to what they like.


# %%
def make_shop(
    num_users: int = 400, num_items: int = 200, seed: int = 0
) -> tuple[pd.DataFrame, pd.DataFrame, pd.DataFrame]:
    """Views, articles and customers."""
    rng = np.random.default_rng(seed)
    kinds = ["Shoes/Boots", "Shoes/Sport", "Shoes/Sandals", "Home/Kitchen", "Home/Garden", "Home/Light"]
    category, price = rng.integers(len(kinds), size=num_items), rng.lognormal(3.2, 0.6, num_items).round(2)
    names = [f"{kinds[kind].split('/')[1]} no. {n}" for n, kind in enumerate(category)]
    items = pd.DataFrame(
        {
            "sku": [f"a{n}" for n in range(num_items)],
            "title": names,
            "category": [kinds[kind] for kind in category],
            "price": price,
        }
    )
    popularity = rng.permutation(1.0 / np.arange(1, num_items + 1) ** 0.5)
    views, likes, budgets = (
        [],
        rng.integers(len(kinds), size=(num_users, 2)),
        rng.lognormal(3.2, 0.6, num_users),
    )
    for user in range(num_users):
        fits = np.exp(-np.abs(np.log(price / budgets[user]))) * popularity
        for step, kind in enumerate(rng.choice(likes[user], 12)):
            weights = np.where(category == kind, fits, 0.003 * popularity)
            item = rng.choice(num_items, p=weights / weights.sum())
            views.append((f"u{user}", f"a{item}", 1_700_000_000 + 3600 * step + user))
    users = pd.DataFrame({"uid": [f"u{n}" for n in range(num_users)], "budget": budgets.round(0)})
    return pd.DataFrame(views, columns=["uid", "sku", "ts"]), items, users


views, items, users = make_shop()
views.head()

# %% [markdown]
# ## Train
#
# What the columns are is guessed by their names and contents; the keywords name those that matter. The run
# directory holds the data set, the configuration and the model. `overrides` sets keys of
# `default_config.yaml`; a file for all of them is `config="shop.yaml"`.

# %%
home = Path("runs/own_data")  # it must not hold a run yet
run = sparcode.fit(
    views,
    items=items,
    users=users,
    output_dir=home / "shop",
    user="uid",
    item="sku",
    time="ts",
    overrides={"train.epochs": 5, "model.embedding_size": 32, "model.quantizer.codebook_size": 1024},
)
print(run)
print({name: column.kind for name, column in run.config.data.table.items.features.items()})

# %% [markdown]
# ## Evaluate
#
# All articles are ranked for every customer. Popularity and crosses alone are ranked for the same customers.

# %%
report = run.evaluate(per_user=True)
print(report)
print(report.per_user["ndcg@10"].describe())

# %% [markdown]
# ## Recommend
#
# To customers of the data set, or for the history of anyone; with a filter on what articles are.

# %%
print(run.recommend(users=["u1", "u2"], k=5))

# %%
history = views.sku[views.uid == "u3"].tolist()
print(run.recommend(histories=[history], k=5, where='price < 30 and category under "Shoes"'))

# %% [markdown]
# ## Export
#
# The bundle is all that serving needs; it is verified against the model before it takes its name.

# %%
bundle = run.export(home / "bundle")
print(bundle)
print(bundle.load().recommend([{"history": ["a1", "a7"]}], k=3))

# %% [markdown]
# ## Plot

# %%
import matplotlib.pyplot as plt  # noqa: E402  - optional: pip install "sparcode[plot]"

table = report.to_pandas()[["recall@10", "ndcg@10", "ndcg@50"]]
axes = table.T.plot.bar(rot=0, figsize=(7, 4), title=f"{report['num_queries']} customers, test split")
axes.set_ylabel("mean over customers")
axes.grid(axis="y", alpha=0.3)
axes.figure.tight_layout()
axes.figure.savefig(home / "accuracy.png", dpi=120)
plt.close(axes.figure)
print(f"plot in {home / 'accuracy.png'}")

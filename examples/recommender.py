# %% [markdown]
# # A recommender with auxiliary tasks (AUX-TS)
#
# Which user likes which item, on a network of users, items and what is known of the items. Meta-paths are auxiliary tasks, whose weights AUX-TS learns. The ratings are
# made up, in the format of KGCN and RippleNet.

# %%
import os
from pathlib import Path

import numpy as np

import distgnn as dg

folder = Path(os.environ.get("DISTGNN_EXAMPLES", "build/examples")) / "recommender"
raw = folder / "raw"
raw.mkdir(parents=True, exist_ok=True)

# %% [markdown]
# Users and items have tastes; an item's genre (an entity of the knowledge graph) tells its taste.

# %%
rng = np.random.default_rng(0)
users, items, tastes = 120, 80, 4
taste_of_user, taste_of_item = rng.integers(0, tastes, users), rng.integers(0, tastes, items)
user, item = (column.ravel() for column in np.meshgrid(np.arange(users), np.arange(items), indexing="ij"))
likes = rng.random(len(user)) < np.where(taste_of_user[user] == taste_of_item[item], 0.6, 0.1)
seen = rng.random(len(user)) < 0.15
ratings = np.stack([user, item, likes.astype(int)], 1)[seen]
genre = items + 2 * taste_of_item + rng.integers(0, 2, items)
triples = np.stack([np.arange(items), np.zeros(items, int), genre], 1)
for name, rows in (("ratings.txt", ratings), ("kg.txt", triples)):
    (raw / name).write_text("\n".join("\t".join(map(str, row)) for row in rows.tolist()) + "\n")

# %%
dg.build_network("kgrec", input=raw, columns="hrt", name="shop", out=folder / "network", overwrite=True)

# %% [markdown]
# `none` is the target alone. Learned weights are near 0 where a task does not help, so that the result is not worse than without tasks.

# %%
results = dg.transfer(
    data=folder / "network",
    methods=["none", "fixed", "auxts_all"],
    schemes=["scratch"],
    network={"encoder": "gcn", "auxiliary": ["user rated item rated^-1 user", "item 0 entity 0^-1 item"]},
    seeds=2,
    epochs=3,
    out=folder / "transfer",
)
print(results)
results.plot().savefig(folder / "scores.png")

# %% [markdown]
# # A database: who orders again?
#
# A relational database becomes a store, a rule becomes a task, and the shipped model (`zoo:databases`) predicts it from 64 labelled customers, without training.

# %%
import os
import sqlite3
from contextlib import closing
from datetime import datetime, timedelta
from pathlib import Path

import numpy as np

import distgnn as dg

folder = Path(os.environ.get("DISTGNN_EXAMPLES", "build/examples")) / "database"
folder.mkdir(parents=True, exist_ok=True)

# %% [markdown]
# A shop: 200 customers, some of whom order often, and their orders over a year.

# %%
rng = np.random.default_rng(0)
often = rng.random(200) < 0.5
number, orders = 0, []
for customer in range(200):
    day = rng.exponential(10)
    while day < 365:
        placed = datetime(2024, 1, 1) + timedelta(days=day)
        orders.append((number, customer, placed.isoformat(sep=" ", timespec="seconds"), round(rng.gamma(2, 20), 2)))
        number, day = number + 1, day + rng.exponential(12 if often[customer] else 90)
path = folder / "shop.sqlite"
path.unlink(missing_ok=True)
with closing(sqlite3.connect(path)) as link, link:
    link.execute("CREATE TABLE customers (customer_id INTEGER PRIMARY KEY, country TEXT)")
    link.execute(
        "CREATE TABLE orders (order_id INTEGER PRIMARY KEY, customer_id INTEGER REFERENCES customers (customer_id), placed TEXT, amount REAL)"
    )
    countries = rng.choice(["fr", "de", "it"], 200)
    link.executemany("INSERT INTO customers VALUES (?, ?)", list(enumerate(countries.tolist())))
    link.executemany("INSERT INTO orders VALUES (?, ?, ?, ?)", orders)

# %% [markdown]
# SQLite does not say which column is the time of a row, so the build proposes it. Look at the proposals of your own database before you accept them.

# %%
database = dg.build_database(input=path, out=folder / "store", accept_proposal=True, overwrite=True)

# %% [markdown]
# The task: is there an order within 30 days? Cut-offs are 30 days apart; rows after a cut-off are invisible.

# %%
rule = """
[tasks.reorder]
entity = "customers"
rule = "exists(orders) within 30 days"
seen = "orders"
"""
(folder / "tasks.toml").write_text(rule)
dg.add_tasks(str(folder / "store"), str(folder / "tasks.toml"))

# %%
found = dg.predict(
    database=folder / "store", task="reorder", model="zoo:databases", context=64, out=folder / "predictions"
)
print(found.table.head())
for column, weight in found.columns:
    print(f"{column}: {weight:.2f}")

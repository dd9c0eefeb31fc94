"""Build a large store of made rows, and sample from it: python -m jobs.benches.database_scale --rows 100000000 --folder /tmp/scale

The database has customers (1 % of the rows), products (0.1 %) and orders (the rest), as Parquet files with int64 keys, times,
numbers and categories. Printed as one JSON line: seconds and CPU seconds of the build, its largest resident memory (of the process,
mapped files included, and of what is its own), bytes of source and store, and sub-graphs per second and core.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import shutil
import time
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

import distgnn as dg
from distgnn.relational.cells import Cells
from distgnn.relational.evidence import collect
from distgnn.relational.sampling import Limits, Seeds
from distgnn.relational.visibility import Visibility

_DAY, _START, _DAYS, _CHUNK = 86_400_000_000, 1_500_000_000_000_000, 2000, 1 << 22
SCHEMA = """name = "scale"
[tables.customers]
key = "id"
columns = { id = "key", region = "category", score = "number" }
[tables.products]
key = "id"
columns = { id = "key", price = "number" }
[tables.orders]
time = "at"
foreign_keys = { customer_id = "customers", product_id = "products" }
columns = { customer_id = "key", product_id = "key", at = "time", amount = "number", paid = "category" }
"""


def main() -> None:
    """Make the files, build the store, sample, and print the figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--folder", type=Path, default=Path("build/database_scale"))
    parser.add_argument("--seeds", type=int, default=20_000, help="sub-graphs to sample")
    asked = parser.parse_args()
    shutil.rmtree(asked.folder, ignore_errors=True)
    source, store = asked.folder / "in", asked.folder / "store"
    source.mkdir(parents=True)
    write(source, asked.rows)
    (asked.folder / "schema.toml").write_text(SCHEMA)
    start, cpu = time.perf_counter(), time.process_time()
    database = dg.build_database(input=source, out=store, schema=asked.folder / "schema.toml")
    told = {"rows": sum(database.rows(table.name) for table in database.schema.tables)}
    told |= {"seconds": time.perf_counter() - start, "cpu_seconds": time.process_time() - cpu}
    told |= {"peak_mib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024, "own_mib": own_memory()}
    told |= {"source_bytes": size(source), "store_bytes": size(store), "cores": os.cpu_count()}
    print(json.dumps(told | sampled(database, asked.seeds)), flush=True)


def write(folder: Path, rows: int) -> None:
    """Write the tables; orders are in the order of their times, with a few very active customers."""
    random, customers, products = np.random.default_rng(0), max(rows // 100, 10), max(rows // 1000, 10)
    regions = pa.array([f"region {number}" for number in range(20)])
    region = regions.take(pa.array(random.integers(0, 20, customers)))
    pq.write_table(
        pa.table({"id": np.arange(customers), "region": region, "score": random.normal(size=customers)}),
        folder / "customers.parquet",
    )
    pq.write_table(
        pa.table({"id": np.arange(products), "price": random.exponential(20, products)}), folder / "products.parquet"
    )
    count, writer = rows - customers - products, None
    for low in range(0, count, _CHUNK):
        size_ = min(_CHUNK, count - low)
        at = _START + ((low + np.sort(random.random(size_)) * size_) / count * _DAYS * _DAY).astype(np.int64)
        chunk = pa.table(
            {
                "customer_id": (customers * random.random(size_) ** 2).astype(np.int64),
                "product_id": random.integers(0, products, size_),
                "at": pa.array(at, pa.timestamp("us")),
                "amount": random.exponential(50, size_).astype(np.float32),
                "paid": pa.array(["card", "cash", "later"]).take(pa.array(random.integers(0, 3, size_))),
            }
        )
        writer = writer or pq.ParquetWriter(folder / "orders.parquet", chunk.schema)
        writer.write_table(chunk)
    if writer:
        writer.close()


def sampled(database: dg.Database, count: int) -> dict[str, float]:
    """Sample sub-graphs of two hops, with their evidence, of random customers and times."""
    random = np.random.default_rng(1)
    rows = random.integers(0, database.rows("customers"), count)
    cut = _START + random.integers(_DAYS // 2, _DAYS, count) * _DAY
    cells = Cells(Visibility(database, "customers"), _START + _DAYS // 2 * _DAY)
    start, cpu = time.perf_counter(), time.process_time()
    sources, _ = collect(cells, Seeds("customers", rows, cut, np.arange(count)), Limits(16, 8))
    seconds = time.perf_counter() - start
    rates = {"subgraphs_per_second": count / seconds, "subgraphs_per_cpu_second": count / (time.process_time() - cpu)}
    return rates | {"columns": len(sources)}


def own_memory() -> int:
    """Resident memory that is not of mapped files, in MiB."""
    status = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) // 1024 for line in status if line.startswith("RssAnon"))


def size(folder: Path) -> int:
    """Bytes of the files of a folder."""
    return sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())


if __name__ == "__main__":
    main()

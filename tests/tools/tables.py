"""Queries the tables of `evidenced export --parquet` with DuckDB: tables.py DIRECTORY PAGE DAY. Prints one JSON object.

The queries of the page's section on DuckDB are run as they stand there, for DAY.
"""

import json
import re
import sys

import duckdb

directory, page, day = sys.argv[1:]
database = duckdb.connect()
database.execute("SET TimeZone = 'UTC'")


def table(name):
    return f"read_parquet('{directory}/{name}/**/*.parquet', hive_partitioning = true)"


def one(query):
    return database.execute(query).fetchall()


def sums(name):
    columns = ", ".join(f"sum({column})::BIGINT" for column in ("pass", "fail", "unknown", "exempt"))
    return list(one(f"SELECT {columns} FROM {table(name)}")[0])


def files_read(query):
    plan = one(f"EXPLAIN ANALYZE {query}")[0][1]
    found = re.search(r"Total Files Read:\s*(\d+)|Scanning Files:\s*(\d+)/\d+", plan)
    return int(found.group(1) or found.group(2)) if found else plan


with open(page, encoding="utf-8") as file:
    section = file.read().split("\n## 5 ")[1].split("\n## 6 ")[0]
queries = re.findall(r"```sql\n(.*?)```", section, re.S)
answers = []
for query in queries:
    # This host has accounts, and is no account of AWS with administrators.
    query = query.replace("tables/", f"{directory}/").replace("2026-11-22", day).replace("administrator", "account")
    query = query.strip().rstrip(";")
    answers.append([list(row) for row in one(f"SELECT COLUMNS(*)::VARCHAR FROM ({query})")])

print(json.dumps({
    "rows": {name: one(f"SELECT count(*) FROM {table(name)}")[0][0] for name in ("receipts", "results", "rows", "records")},
    "kinds": sorted(kind for (kind,) in one(f"SELECT DISTINCT kind FROM {table('records')}")),
    "columns": [list(row[:2]) for row in one(f"DESCRIBE SELECT * FROM {table('records')}")],
    # Every record belongs to a receipt, whose count of records is theirs.
    "records_of_receipts": one(f"SELECT sum(records)::BIGINT FROM {table('receipts')}")[0][0],
    "unmatched": one(f"SELECT count(*) FROM {table('records')} r ANTI JOIN {table('receipts')} p USING (entry, job)")[0][0],
    "sums": sums("results"),
    "totals": sums("receipts"),
    "same_id": one(f"SELECT count(*) FROM {table('records')} WHERE id <> json_extract_string(record, '$.id')")[0][0],
    "files_of_day": files_read(f"SELECT max(record) FROM {table('records')} WHERE kind = 'account' AND date = '{day}'"),
    "files_of_another": files_read(f"SELECT max(record) FROM {table('records')} WHERE date = '1999-01-01'"),
    "answers": answers,
}))

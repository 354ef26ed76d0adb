"""A year's backfill on the platform's cluster with one executor and with two (one core each), on the same drops.

`make bench-cluster` needs the platform of `make up`, works in the lake's volume below /data/bench and removes that. Fails when
the rows differ or when an executor got no task. Wall time is shared with the driver and the services of the same machine. Hours
that a gate refuses are left out, with one executor as with two.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import time

from measure import Rows, add

NAME = "nycflights13"
ROOT = "/data/bench"
# A project of n executors: conf/ as shipped but for their number.
PROJECT = """
mkdir -p {root}/{n}/project
cp -r conf expectations {root}/{n}/project
sed -i 's/executors: 2/executors: {n}/' {root}/{n}/project/conf/environments/compose.yaml
grep -q 'executors: {n},' {root}/{n}/project/conf/environments/compose.yaml
"""
# Per application its tasks by host and their CPU seconds, from Spark's event log; rows that readers see, and a hash of them.
LOOK = """
import json, pathlib, sys
from spark_jobs.config import load_pipeline
from spark_jobs.lake.kinds import table_kinds
from spark_jobs.lake.reading import connect, register_current
from spark_jobs.ledger import Ledger
data, name = pathlib.Path(sys.argv[1]), sys.argv[2]
tasks, cpu = {}, 0.0
for path in (data / 'spark-events').rglob('events_*'):
    for line in path.open():
        event = json.loads(line)
        if event['Event'] == 'SparkListenerTaskEnd':
            host = event['Task Info']['Host']
            tasks[host] = tasks.get(host, 0) + 1
            cpu += (event.get('Task Metrics') or {}).get('Executor CPU Time', 0) / 1e9
root, rows = data / 'lake' / name, {}
for table, kind in table_kinds(load_pipeline(name)).items():
    with connect(root) as connection:
        if register_current(connection, root, table, kind, Ledger.open(root).line(), 'rows'):
            columns = [row[0] for row in connection.execute('DESCRIBE rows').fetchall()]
            listed = ', '.join(f'"{column}"::VARCHAR' for column in columns if column not in ('pub', 'data_release'))
            rows[table] = connection.execute(f'SELECT count(*), sum(hash({listed})::HUGEINT)::VARCHAR FROM rows').fetchone()
print(json.dumps({'tasks': tasks, 'cpu': cpu, 'rows': rows}))
"""


def inside(*words: str, text: str | None = None, refused: bool = False, **variables: str) -> str:
    """What a command prints where the tasks run; its progress goes to our stderr. `refused`: it may end with 65."""
    options = [word for name, value in variables.items() for word in ("-e", f"{name}={value}")]
    ask = ["docker", "ps", "-q", "--filter", "label=com.docker.compose.service=airflow-scheduler"]
    found = subprocess.run(ask, capture_output=True, text=True, check=True).stdout.split()
    if len(found) != 1:
        print(f"bench-cluster: {len(found)} platforms are up; one is needed\n  do: make up", file=sys.stderr)
        raise SystemExit(64)
    [container] = found
    command = ["docker", "exec", "-i", *options, container, *words]
    done = subprocess.run(command, input=text, stdout=subprocess.PIPE, text=True)
    if done.returncode not in ((0, 65) if refused else (0,)):
        raise SystemExit(f"bench-cluster: {' '.join(words)} ended with {done.returncode}")
    return done.stdout


def backfilled(n: int, interval: list[str], rows: Rows) -> dict[str, object]:
    """What a look at the lake and the event log of n executors says."""
    places = {"TIDEGATE_PROJECT": f"{ROOT}/{n}/project", "TIDEGATE_DATA": f"{ROOT}/{n}"}
    inside("tidegate", "fetch", NAME, *interval, "--source", "planes", **places)
    inside("rm", "-rf", f"{ROOT}/{n}/spark-events")
    started = time.monotonic()
    inside("tidegate", "backfill", NAME, *interval, "--leave-out-refused", refused=True, **places)
    wall = time.monotonic() - started
    found = dict(json.loads(inside("python", "-", f"{ROOT}/{n}", NAME, text=LOOK, **places)))
    add(rows, f"backfill, {n} of 1 core", found["cpu"], wall, sum(count for count, _ in found["rows"].values()))
    return found


def main() -> int:
    """Both backfills, one after the other; 1 when they differ."""
    words = argparse.ArgumentParser(description=__doc__)
    words.add_argument("--from", dest="start", default="2013-01-01T00:00:00")
    words.add_argument("--to", dest="end", default="2014-01-01T00:00:00")
    asked = words.parse_args()
    interval, rows = ["--from", asked.start, "--to", asked.end], Rows()
    inside("rm", "-rf", ROOT)
    for n in (1, 2):
        inside("bash", "-ec", PROJECT.format(root=ROOT, n=n))
    first = {"TIDEGATE_PROJECT": f"{ROOT}/1/project", "TIDEGATE_DATA": f"{ROOT}/1"}
    print(inside("tidegate", "replay", NAME, *interval, **first).strip(), flush=True)
    inside("cp", "-rl", f"{ROOT}/1/landing", f"{ROOT}/2/landing")
    one, two = (backfilled(n, interval, rows) for n in (1, 2))
    inside("rm", "-rf", ROOT)
    print("\n| executors | CPU s of tasks | s | tasks by host | rows |\n|---|---|---|---|---|")
    for n, found, (_, cpu, wall, count) in zip((1, 2), (one, two), rows, strict=True):
        print(f"| {n} | {cpu:.1f} | {wall:.1f} | {sorted(found['tasks'].values())} | {count:,} |")
    print(f"\nwall time with two / with one: {rows[1][2] / rows[0][2]:.2f}")
    same, spread = one["rows"] == two["rows"], (len(one["tasks"]), len(two["tasks"])) == (1, 2)
    print(f"rows of {len(one['rows'])} tables {'are the same' if same else 'DIFFER'}")
    return 0 if same and spread and one["rows"] else 1


if __name__ == "__main__":
    sys.exit(main())

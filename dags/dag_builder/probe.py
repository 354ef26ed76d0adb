"""Facts about the Airflow that this environment names, as one line of JSON, for `tidegate doctor`: a process of its own.

Reads Airflow's database, starts nothing. An Airflow that cannot be asked is a fact, too: {"error": …}.
"""

from __future__ import annotations

import json
from typing import Any

CONNECTION = "spark_default"  # of every Spark task


def facts() -> dict[str, Any]:
    """Version, folder of DAGs, pools with their slots, the Spark connection and whether DAGs are paused."""
    from airflow import __version__
    from airflow.configuration import conf
    from airflow.models import Connection, DagModel, Pool
    from airflow.sdk.exceptions import AirflowNotFoundException
    from airflow.utils.session import create_session

    with create_session() as session:
        pools = {pool.pool: pool.slots for pool in session.query(Pool)}
        dags = {dag.dag_id: bool(dag.is_paused) for dag in session.query(DagModel).filter(~DagModel.is_stale)}
    try:
        found = Connection.get_connection_from_secrets(CONNECTION)
        connection = {"conn_type": found.conn_type, "host": found.host or "", "port": found.port}
    except AirflowNotFoundException:
        connection = None
    return {
        "version": __version__,
        "dags_folder": conf.get("core", "dags_folder"),
        "pools": pools,
        "dags": dags,
        "connection": connection,
    }


def main() -> None:
    """Print the facts."""
    try:
        told = facts()
    except Exception as error:  # whatever is wrong with it, doctor reports it
        told = {"error": f"{type(error).__name__}: {str(error).strip().partition(chr(10))[0]}"[:300]}
    print(json.dumps(told))


if __name__ == "__main__":
    main()

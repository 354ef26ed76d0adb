"""The files of docs/tutorial/your-own-table.md are a pipeline without faults."""

from __future__ import annotations

import re
from pathlib import Path

from spark_jobs.config.load import load_pipeline

CHECKOUT = Path(__file__).resolve().parents[2]
PAGE = CHECKOUT / "docs/tutorial/your-own-table.md"
_FILE = re.compile(r'^```yaml title="([^"]+)"\n(.*?)^```$', re.MULTILINE | re.DOTALL)


def test_the_files_of_the_tutorial_are_a_valid_pipeline(tmp_path: Path) -> None:
    """As `tidegate validate shop` reads them."""
    files = dict(_FILE.findall(PAGE.read_text()))
    for name, text in files.items():
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    pipeline = load_pipeline("shop", tmp_path)
    assert set(pipeline.suites) == {"orders", "features/orders"}
    assert pipeline.feature_tables == ["features/orders"]
    assert len(files) == 6

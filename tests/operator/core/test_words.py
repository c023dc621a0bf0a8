"""Names that belong into one place."""

import re
from pathlib import Path

OPERATOR = Path(__file__).parents[3] / "operator" / "headgate"


def test_only_its_own_folder_knows_envoys_series_and_settings():
    told = {}
    for path in OPERATOR.rglob("*.py"):
        if "dataplane/envoy" in path.as_posix():
            continue
        lines = path.read_text().splitlines()
        told |= {
            f"{path.relative_to(OPERATOR)}:{n}": line for n, line in enumerate(lines, 1) if "envoy" in line.lower()
        }
    allowed = re.compile(r"envoy_image|Image of Envoy|EnvoyDataPlane|Envoy's container|Envoy can wait")
    assert {where: line for where, line in told.items() if not allowed.search(line)} == {}

"""Print line and branch coverage apart, as `coverage report` joins them, and fail below a share of lines."""

import argparse
import json
import subprocess
import sys
from pathlib import Path

parser = argparse.ArgumentParser(description=__doc__)
parser.add_argument("--at-least", type=float, default=0, help="percent of lines")
least = parser.parse_args().at_least

subprocess.run([sys.executable, "-m", "coverage", "json", "-q", "-o", "coverage.json"], check=True)
totals = json.loads(Path("coverage.json").read_text())["totals"]
lines = 100 * totals["covered_lines"] / max(1, totals["num_statements"])
branches = 100 * totals["covered_branches"] / max(1, totals["num_branches"])
print(f"coverage of src: lines {lines:.1f} %, branches {branches:.1f} %")
if lines < least:
    sys.exit(f"error: fewer than {least:g} % of lines are covered")

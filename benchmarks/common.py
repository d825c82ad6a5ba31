"""What every benchmark shares: results kept as they come, so that an interrupted one goes on; tables; the machine."""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np

from sensorium.evaluation.summary import spread
from sensorium.run import write_atomic, write_json

ROOT = Path(__file__).resolve().parents[1]
RESULTS = ROOT / "benchmarks" / "results"
PACKAGES = ("sensorium", "torch", "transformers", "peft", "accelerate", "scikit-learn", "numpy", "pyarrow")


class Results:
    """``NAME.json``: {"about", "settings", "results": {key: value}}; each value is written as soon as it is known.

    Args:
        settings: what the figures depend on. A file that was made with other settings is refused, so that no table
            mixes them.
    """

    def __init__(self, folder: Path, name: str, settings: Mapping[str, Any]) -> None:
        self.path, self.table = folder / f"{name}.json", folder / f"{name}.md"
        self.settings = json.loads(json.dumps(dict(settings)))
        self.values: dict[str, Any] = {}
        if self.path.exists():
            found = json.loads(self.path.read_text(encoding="utf-8"))
            if found["settings"] != self.settings:
                changed = [k for k in self.settings if found["settings"].get(k) != self.settings[k]]
                raise SystemExit(
                    f"{self.path} was made with other {', '.join(changed)}: move it aside or use --results"
                )
            self.values = found["results"]

    def __contains__(self, key: str) -> bool:
        return key in self.values

    def __getitem__(self, key: str) -> Any:
        return self.values[key]

    def keep(self, key: str, value: Any) -> Any:
        """Store a value and write the file."""
        self.values[key] = value
        write_json(self.path, {"about": about(), "settings": self.settings, "results": self.values})
        return value

    def once(self, key: str, make: Callable[..., Any], *given: Any) -> Any:
        """The value of ``key``: what an earlier call kept, else ``make(*given)``."""
        if key in self.values:
            return self.values[key]
        print(f"{datetime.now():%H:%M:%S} {key} …", flush=True)
        return self.keep(key, make(*given))

    def write_table(self, text: str) -> None:
        """``NAME.md``, and the same on the screen."""
        footer = f"\n{described(about())}\n\nSettings: `{json.dumps(self.settings)}`\n"
        write_atomic(self.table, text.rstrip() + "\n" + footer)
        print(text, flush=True)


def about() -> dict[str, Any]:
    """The machine and what ran on it."""
    return {
        "date": datetime.now(UTC).strftime("%Y-%m-%d"),
        "processor": processor(),
        "cores": os.cpu_count(),
        "threads": int(os.environ.get("OMP_NUM_THREADS") or os.cpu_count() or 1),
        "python": platform.python_version(),
        "packages": {name: version for name in PACKAGES if (version := _version(name))},
        "commit": _commit(),
    }


def described(facts: Mapping[str, Any]) -> str:
    """``about`` in one sentence."""
    packages = ", ".join(f"{name} {version}" for name, version in facts["packages"].items())
    return (
        f"Measured on {facts['date']}: {facts['processor']}, {facts['cores']} cores, {facts['threads']} threads; "
        f"Python {facts['python']}, {packages}; commit {facts['commit'] or 'unknown'}."
    )


def processor() -> str:
    """The processor's name, and which units for bf16 it has: those decide the ratios here."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    fields = {key.strip(): value.strip() for key, _, value in (line.partition(":") for line in lines)}
    units = [unit for unit in ("amx_bf16", "avx512_bf16", "avx512f", "avx2") if unit in fields.get("flags", "").split()]
    return f"{fields.get('model name', platform.machine())} ({', '.join(units[:2]) or 'no bf16 unit'})"


def table(head: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """A Markdown table; the first column is text, the others stand on the right."""
    lines = [f"| {' | '.join(head)} |", "|---|" + "---:|" * (len(head) - 1)]
    return "\n".join([*lines, *(f"| {' | '.join(str(cell) for cell in row)} |" for row in rows)]) + "\n"


def percent(values: Sequence[float]) -> str:
    """Mean and standard deviation over seeds, in percent."""
    found = spread(values)
    return f"{100 * found['mean']:.1f}" + (f" ± {100 * found['sd']:.1f}" if found["sd"] is not None else "")


def interval(measured: Mapping[str, float]) -> str:
    """``{"value", "low", "high"}`` in percent with its 95 % interval."""
    return f"{100 * measured['value']:.1f} ({100 * measured['low']:.1f} to {100 * measured['high']:.1f})"


def mean(values: Iterable[float]) -> float:
    return float(np.mean(list(values)))


def integers(text: str) -> list[int]:
    """``0,1,2`` as given on the command line."""
    return [int(part) for part in text.split(",") if part.strip()]


def arguments_of(doc: str | None, runs: str) -> argparse.ArgumentParser:
    """The flags that benchmarks of a recipe share; ``runs`` names their folder below ``runs/benchmarks``."""
    parser = argparse.ArgumentParser(description=doc, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=integers, default=[0, 1, 2])
    parser.add_argument("--max-rows", type=int, help="a smaller table, to try the script")
    parser.add_argument("--epochs", type=float, help="fewer epochs, to try the script")
    parser.add_argument("--results", type=Path, default=RESULTS)
    parser.add_argument("--runs", type=Path, default=ROOT / "runs" / "benchmarks" / runs)
    return parser


def clean_environment() -> None:
    """No hub, no screen, no chatter; before any library is imported that looks."""
    os.environ.update({"HF_HUB_OFFLINE": "1", "MPLBACKEND": "Agg", "TRANSFORMERS_VERBOSITY": "error"})
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    os.environ.setdefault("OMP_NUM_THREADS", str(os.cpu_count() or 1))


def _version(name: str) -> str | None:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None


def _commit() -> str | None:
    found = subprocess.run(
        ["git", "rev-parse", "--short", "HEAD"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    return found.stdout.strip() or None

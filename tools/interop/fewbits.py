"""The binary under test, as functions."""

from __future__ import annotations

import json
import subprocess
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

ROOT = Path(__file__).resolve().parents[2]
BINARY = ROOT / "target" / "release" / "fewbits"


class FewbitsError(Exception):
    """The binary answered with an error."""


def command(*arguments: str | Path) -> str:
    """Runs the binary and returns its standard output; `FewbitsError` carries what it said."""
    process = subprocess.run(
        [str(BINARY), "--quiet", *map(str, arguments)], capture_output=True, text=True, check=False
    )
    if process.returncode != 0:
        raise FewbitsError(f"exit code {process.returncode}: {process.stderr.strip()}")
    return process.stdout


def run(model: Path, inputs: Mapping[str, np.ndarray], *options: str) -> dict[str, np.ndarray]:
    """Outputs of a model, by name, in the model's order."""
    with tempfile.TemporaryDirectory() as directory:
        folder = Path(directory)
        arguments: list[str | Path] = ["run", model, "--json", "--output-dir", folder / "out", *options]
        for i, (name, array) in enumerate(inputs.items()):
            file = folder / f"input{i}.npy"
            np.save(file, np.ascontiguousarray(array))
            arguments += ["--input", f"{name}={file}"]
        report = json.loads(command(*arguments))
        # The files' names are the outputs' with characters replaced that a path cannot have.
        return {output["name"]: np.load(output["file"]) for output in report["outputs"]}


def quantize(model: Path, output: Path, mode: str, *options: str | Path) -> dict[str, Any]:
    """Writes a quantized model; the summary that the command prints."""
    report: dict[str, Any] = json.loads(command("quantize", model, "-o", output, "--mode", mode, "--json", *options))
    return report

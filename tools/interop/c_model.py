"""A model that `fewbits export` wrote as C, compiled for this machine and run on arrays."""

from __future__ import annotations

import json
import re
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

import fewbits

WARNINGS = ["-Wall", "-Wextra", "-Wconversion", "-Werror", "-pedantic"]
SANITIZERS = ["-fsanitize=address,undefined", "-fno-sanitize-recover=all"]

HARNESS = """
#include "@name@.h"
#include <stdio.h>
@buffers@
int main(void)
{
    for (;;) {
        @read@
        if (@name@_run(@arguments@) != 0) {
            return 2;
        }
        @write@
    }
}
"""


class CModel:
    """Exports, checks that C and C++ compilers have nothing to say, builds with the sanitizers."""

    def __init__(self, model: Path, folder: Path, name: str = "net", options: tuple[str, ...] = ()) -> None:
        """Everything is made in `folder`."""
        folder.mkdir(parents=True, exist_ok=True)
        source = folder / f"{name}.c"
        arguments = ["export", model, "-o", source, "--name", name, "--json", *options]
        self.report: dict[str, Any] = json.loads(fewbits.command(*arguments))
        self.name, self.source, self.header = name, source, (folder / f"{name}.h").read_text()
        self.inputs = self._ports("input")
        self.outputs = self._ports("output")
        harness = folder / "harness.c"
        harness.write_text(self._harness())
        cpp = ["g++", "-x", "c++", "-std=c++11", *WARNINGS, "-fsyntax-only", source]
        _compile(cpp)
        self._program = folder / "program"
        _compile(["cc", "-std=c99", *WARNINGS, *SANITIZERS, "-O2", source, harness, "-o", self._program])

    def _ports(self, kind: str) -> list[dict[str, Any]]:
        pattern = rf"/\* (.*): (u?int8_t) ([0-9x ]+).*\*/\n#define {self.name.upper()}_({kind.upper()}\w*?)_SIZE (\d+)"
        found = re.findall(pattern, self.header)
        return [
            {"name": name, "c": port.lower(), "dtype": np.dtype(ctype[:-2]), "shape": [*map(int, dims.split(" x "))]}
            for name, ctype, dims, port, _ in found
        ]

    def _harness(self) -> str:
        ports = self.inputs + self.outputs
        sizes = {port["c"]: int(np.prod(port["shape"])) for port in ports}
        buffers = "\n".join(f"static {p['dtype'].name}_t {p['c']}[{sizes[p['c']]}];" for p in ports)
        read = "\n        ".join(
            f"if (fread({p['c']}, 1, {sizes[p['c']]}, stdin) != {sizes[p['c']]}) {{ return 0; }}" for p in self.inputs
        )
        write = "\n        ".join(
            f"if (fwrite({p['c']}, 1, {sizes[p['c']]}, stdout) != {sizes[p['c']]}) {{ return 3; }}"
            for p in self.outputs
        )
        text = HARNESS.replace("@name@", self.name).replace("@buffers@", buffers).replace("@read@", read)
        return text.replace("@write@", write).replace("@arguments@", ", ".join(p["c"] for p in ports))

    def run(self, inputs: Mapping[str, np.ndarray]) -> list[np.ndarray]:
        """Outputs of every sample, in the model's order; inputs by position, one sample a row."""
        count = len(next(iter(inputs.values())))
        arrays = [np.ascontiguousarray(array) for array in inputs.values()]
        for port, array in zip(self.inputs, arrays, strict=True):
            if array.dtype != port["dtype"]:
                raise TypeError(f"{port['name']} is {port['dtype']}, got {array.dtype}")
        data = b"".join(array[i].tobytes() for i in range(count) for array in arrays)
        process = subprocess.run([self._program], input=data, capture_output=True, check=False)
        if process.returncode != 0:
            raise RuntimeError(f"exit code {process.returncode}: {process.stderr.decode(errors='replace')[-800:]}")
        sizes = [int(np.prod(port["shape"])) for port in self.outputs]
        rows = np.frombuffer(process.stdout, np.uint8).reshape(count, sum(sizes))
        parts = np.split(rows, np.cumsum(sizes)[:-1], axis=1)
        return [part.copy().view(port["dtype"]) for part, port in zip(parts, self.outputs, strict=True)]


def _compile(command: list[str | Path]) -> None:
    process = subprocess.run([str(part) for part in command], capture_output=True, text=True, check=False)
    if process.returncode != 0:
        raise RuntimeError(f"{command[0]}: {process.stderr[:600]}")

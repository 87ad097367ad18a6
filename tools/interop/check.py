#!/usr/bin/env python3
"""Interoperability checks: our engine and our files against ONNX Runtime and LiteRT.

    tools/interop/run                      all suites
    tools/interop/run --only onnx_ops      one suite; may be given several times
    tools/interop/run --verbose            names the checks that passed, too

The last line is `N passed, N failed`; the exit code is 1 if anything failed.
"""

from __future__ import annotations

import argparse
import sys
import time

import emit_c
import emit_c_boards
import float_models
import foreign
import int4
import int8_ops
import onnx_ops
import published_int8
import trained
import written_files
import written_ops
from fewbits import BINARY
from results import Suite

SUITES = {
    "onnx_ops": onnx_ops.run,
    "written_onnx_ops": written_ops.run_onnx,
    "written_tflite_ops": written_ops.run_tflite,
    "int4": int4.run,
    "int8_ops": int8_ops.run,
    "float_models": float_models.run,
    "published_int8": published_int8.run,
    "foreign": foreign.run,
    "written_files": written_files.run,
    "trained": trained.run,
    "emit_c": emit_c.run,
    "emit_c_boards": emit_c_boards.run,
}


def main() -> int:
    """Runs the suites that were asked for."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--only", action="append", choices=SUITES, metavar="SUITE", help=", ".join(SUITES))
    parser.add_argument("--verbose", action="store_true", help="name the checks that passed, too")
    arguments = parser.parse_args()
    if not BINARY.exists():
        print(f"{BINARY} is missing: cargo build --release", file=sys.stderr)
        return 1
    suites = [_run(name, arguments.verbose) for name in arguments.only or SUITES]
    failures = [failure for suite in suites for failure in suite.failures]
    if failures:
        print("\nfailures:")
        print("\n".join(failures))
    print(f"{sum(suite.passed for suite in suites)} passed, {len(failures)} failed")
    return 1 if failures else 0


def _run(name: str, verbose: bool) -> Suite:
    suite = Suite(name, verbose)
    start = time.monotonic()
    SUITES[name](suite)
    print(suite.line(time.monotonic() - start), flush=True)
    return suite


if __name__ == "__main__":
    sys.exit(main())

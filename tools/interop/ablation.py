"""Prints one table: what each method of int8 quantization gains alone and with the others, for weights of
eight and of four bits, on labelled shared models. Not part of CI: it takes minutes.

    cargo build --release && .venv/bin/python tools/interop/ablation.py

*Plain* is min-max ranges, weight scales by the largest weight, rounding to the nearest, no bias correction.
The rows below it add one method each; `default` is what the command does unasked, and the rows below that
leave one of its methods out or add one that is off unless asked for.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path

import fewbits
import models
from figures import describe, evaluate

MODELS = ("efficientnet_lite0_dyn.onnx", "resnet20_cifar10_jpegft_dyn.onnx", "mobilenet_v1_025_224_dyn.onnx")

PLAIN = {"calibration": "minmax", "weight-scales": "max", "weight-rounding": "nearest", "bias-correction": False}
DEFAULT: dict[str, str | bool] = {}

RECIPES: dict[str, dict[str, str | bool]] = {
    "plain": PLAIN,
    "plain + moving average": PLAIN | {"calibration": "moving-average"},
    "plain + percentile": PLAIN | {"calibration": "percentile"},
    "plain + entropy": PLAIN | {"calibration": "entropy"},
    "plain + mse": PLAIN | {"calibration": "mse"},
    "plain + mse weight scales": PLAIN | {"weight-scales": "mse"},
    "plain + balanced rounding": PLAIN | {"weight-rounding": "balanced"},
    "plain + bias correction": PLAIN | {"bias-correction": True},
    "plain + equalization": PLAIN | {"equalize": True},
    "plain + learned rounding": PLAIN | {"weight-rounding": "learned"},
    "default": DEFAULT,
    "default - mse (minmax)": DEFAULT | {"calibration": "minmax"},
    "default - balanced (nearest)": DEFAULT | {"weight-rounding": "nearest"},
    "default - bias correction": DEFAULT | {"bias-correction": False},
    "default + equalization": DEFAULT | {"equalize": True},
    "default + learned rounding": DEFAULT | {"weight-rounding": "learned"},
    "default + learned + equalization": DEFAULT | {"weight-rounding": "learned", "equalize": True},
}


def recipe(file: Path, settings: dict[str, str | bool], bits: int) -> Path:
    """Writes a recipe file."""
    lines = ['mode = "int8"', f"weights = {bits}"]
    for key, value in settings.items():
        lines.append(f'{key} = "{value}"' if isinstance(value, str) else f"{key} = {str(value).lower()}")
    file.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return file


def main() -> None:
    """Prints the table."""
    parser = argparse.ArgumentParser(description="what each method gains")
    parser.add_argument("--models", nargs="*", help="parts of file names [all three]")
    parser.add_argument("--recipes", nargs="*", help="parts of recipes' names [all]")
    parser.add_argument("--bits", nargs="*", type=int, default=[8, 4], help="bits of weights")
    parser.add_argument("--samples", type=int, help="at most so many samples to measure on [all]")
    parser.add_argument("--binary", type=Path, default=fewbits.BINARY, help="the fewbits to measure")
    options = parser.parse_args()
    fewbits.BINARY = options.binary
    if not models.available():
        sys.exit("../shared is absent")
    limit = ["--samples", str(options.samples)] if options.samples else []
    print("model  weight bits  recipe  SQNR dB  agreement %  top-1 %  float %  samples")
    for name in MODELS:
        if options.models and not any(part in name for part in options.models):
            continue
        with tempfile.TemporaryDirectory() as directory:
            folder, every = Path(directory), 50 if "cifar" in name else 5
            calibration = describe(name, folder, "calibration", lambda i, n=every: i % n == 0)
            data = describe(name, folder, "evaluation", lambda i, n=every: i % n != 0)
            exact = evaluate(models.MODELS / name, data, *limit)
            for bits in options.bits:
                for label, settings in RECIPES.items():
                    if options.recipes and not any(part in label for part in options.recipes):
                        continue
                    output, file = folder / "model.onnx", folder / "r.toml"
                    given = ["--recipe", recipe(file, settings, bits), "--data", calibration, "--eval", calibration]
                    fewbits.quantize(models.MODELS / name, output, "int8", *given)
                    got = evaluate(output, data, "--reference", models.MODELS / name, *limit)
                    print(
                        f"{name}  {bits}  {label}  {got['sqnr_db']:.2f}  {100 * got['agreement']:.2f}  "
                        f"{100 * got['top1']:.2f}  {100 * exact['top1']:.2f}  {got['samples']}",
                        flush=True,
                    )


if __name__ == "__main__":
    main()

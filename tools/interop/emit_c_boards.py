"""C that `fewbits export` writes, on emulated microcontrollers: the same bytes as on this machine, and
how many instructions a run takes there."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path

import fewbits
import models
from c_model import CModel
from fewbits import ROOT
from results import Suite, require

EXAMPLES = ROOT / "examples" / "c"

SAMPLES = 3
"""Inputs of each model: emulation is slow, and the host build is compared on hundreds."""

LARGE = {"tf2_mobilenet_v2_1.0_224_ptq.tflite"}
"""Models that no microcontroller holds."""

SECONDS = 300


@dataclass(frozen=True)
class Board:
    """An emulated board and what its examples' Makefile needs."""

    target: str
    compiler: str
    emulator: str
    machine: tuple[str, ...]
    # Instructions a tick of the counter: QEMU counts an instruction as a nanosecond.
    instructions: float


BOARDS = (
    Board("cortex-m4", "arm-none-eabi-gcc", "qemu-system-arm", ("-machine", "mps2-an386"), 40),
    Board("cortex-m7", "arm-none-eabi-gcc", "qemu-system-arm", ("-machine", "mps2-an500"), 40),
    Board("cortex-m33", "arm-none-eabi-gcc", "qemu-system-arm", ("-machine", "mps2-an505"), 50),
    Board("cortex-m55", "arm-none-eabi-gcc", "qemu-system-arm", ("-machine", "mps3-an547"), 31.25),
    Board("rv32", "riscv64-unknown-elf-gcc", "qemu-system-riscv32", ("-machine", "virt", "-bios", "none"), 1),
)


def run(suite: Suite) -> None:
    """Every published int8 model on every board whose compiler and emulator are installed."""
    if not models.available():
        suite.skip("../shared is absent")
        return
    boards = [board for board in BOARDS if shutil.which(board.compiler) and shutil.which(board.emulator)]
    if not boards:
        suite.skip("there is no arm-none-eabi-gcc with qemu-system-arm, nor their like for RISC-V")
        return
    missing = [board.target for board in BOARDS if board not in boards]
    suite.note(f"not installed: {', '.join(missing) or 'none'}")
    if "CI" in os.environ:
        with suite.check("compilers and emulators of the Arm boards"):
            require(not any(target.startswith("cortex") for target in missing), "see .ci/run for the packages")
    with tempfile.TemporaryDirectory() as directory:
        for model in models.PUBLISHED_INT8:
            if model.file not in LARGE:
                _model(suite, model, boards, Path(directory) / model.path.stem)


def _model(suite: Suite, model: models.Shared, boards: list[Board], folder: Path) -> None:
    samples = model.samples(SAMPLES, 0)
    host = CModel(model.path, folder / "host", options=("--target", "host"))
    expected = b"".join(output.tobytes() for output in host.run(samples))
    data = b"".join(array.tobytes() for array in samples.values())
    macs = host.report["macs"]
    for board in boards:
        counts = []
        for kind, flags in (("", ""), ("portable", "-DNET_PORTABLE")):
            with suite.check(f"{model.file} on {board.target} {kind}".strip()):
                build = folder / f"{board.target}{kind}"
                size = _build(board, model.path, build, flags)
                instructions, output = _run(board, build, data)
                require(output == expected, "the bytes differ from the host's")
                counts.append(f"{kind or 'own path'} {instructions / macs:.2f} instructions/MAC, {size} bytes of text")
        suite.note(f"{model.file} on {board.target}: {'; '.join(counts)}")


def _build(board: Board, model: Path, build: Path, flags: str) -> int:
    command = ["make", "-C", EXAMPLES / board.target, f"MODEL={model}", f"FEWBITS={fewbits.BINARY}", f"BUILD={build}"]
    process = subprocess.run([*command, f"EXTRA={flags}"], capture_output=True, text=True, check=False)
    require(process.returncode == 0, f"make: {process.stderr[-600:]}")
    numbers = re.search(r"^\s*(\d+)\s+\d+\s+\d+\s+\d+\s+[0-9a-f]+\s", process.stdout, re.MULTILINE)
    require(numbers is not None, "size printed no numbers")
    return int(numbers[1])


def _run(board: Board, build: Path, data: bytes) -> tuple[float, bytes]:
    (build / "input.bin").write_bytes(data)
    emulator = [board.emulator, *board.machine, "-kernel", "firmware.elf", "-nographic", "-monitor", "none"]
    options = ["-serial", "none", "-semihosting-config", "enable=on,target=native", "-icount", "shift=0"]
    process = subprocess.run(
        [*emulator, *options], cwd=build, capture_output=True, text=True, check=False, timeout=SECONDS
    )
    lines = process.stdout + process.stderr
    require(process.returncode == 0, f"exit code {process.returncode}: {lines[-300:]}")
    ticks = [int(count) for count in re.findall(r"ticks (\d+)", lines)]
    require(len(ticks) == SAMPLES, f"the board ran {len(ticks)} samples")
    return ticks[-1] * board.instructions, (build / "output.bin").read_bytes()

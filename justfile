# Everyday commands; `just` lists them.

default:
    @just --list

# The main job: quantize the embedded network in all three modes.
demo:
    cargo run --release -- demo

# All tests.
test:
    cargo test --release

# What CI checks before anything else.
lint:
    cargo fmt --all --check
    cargo clippy --workspace --all-targets -- -D warnings

# Files we write in ONNX Runtime and LiteRT, and theirs in our engine (makes .venv once).
interop:
    tools/interop/run

# Kernel tests on an emulated CPU with AVX-512 VNNI and AMX (installs Debian packages; 5 minutes).
emulate:
    tools/emulate/run

# All of CI.
ci:
    .ci/run

# The supported-operators table of the README, anew.
operators:
    cargo run --release -- operators

# A parser under the fuzzer for some seconds: just fuzz onnx 600
fuzz target seconds="600":
    cargo +nightly fuzz run {{target}} -- -max_total_time={{seconds}} -rss_limit_mb=2048

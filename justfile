# The commands that CI and people share. `just` comes with the dev extra (rust-just).

set shell := ["bash", "-euo", "pipefail", "-c"]

# the quickstart: pre-train, search, compare, on real images
demo:
    coretune study run studies/quickstart.yaml

# every test that plain `pytest` runs
test *arguments:
    pytest {{arguments}}

# what takes longer: kills, wheels, whole studies
test-slow:
    pytest -m slow

# clusters of several Ray nodes on this machine: some minutes, and root for nodes that do not see everything
test-nodes:
    pytest -m nodes

# what needs a GPU: half precision, compiled backbones, shared GPUs, NCCL where there are two
test-gpu:
    pytest -m gpu

# format, lint, import rules
lint:
    ruff format --check .
    ruff check .
    lint-imports

# strict types
types:
    mkdir -p .mypy_path && ln -sfn ../cli .mypy_path/coretune_cli
    mypy

# every speed promise, as a table
bench:
    python benchmarks/all.py

# links and commands in the docs
docs:
    pytest tests/docs

from __future__ import annotations

import subprocess
import sys

PROGRAM = """
import torch
from coretune.runs.process import set_up
before = torch.get_num_threads()
set_up()
assert torch.get_num_threads() == before and torch.are_deterministic_algorithms_enabled()
assert torch.is_deterministic_algorithms_warn_only_enabled()
assert not torch.utils.deterministic.fill_uninitialized_memory
set_up(threads=3, deterministic=False)
assert torch.get_num_threads() == 3 and not torch.are_deterministic_algorithms_enabled()
"""


def test_torch_is_set_up() -> None:
    found = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True, check=False)
    assert found.returncode == 0, found.stderr

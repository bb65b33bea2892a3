from __future__ import annotations

from pathlib import Path

import pytest

from coretune.cluster.processor import emulates_half, slow_precision

AVX2 = "processor\t: 0\nmodel name\t: AMD EPYC\nflags\t\t: fpu sse2 avx avx2 fma\n\nprocessor\t: 1\nflags\t\t: avx2\n"
AVX512 = "processor\t: 0\nflags\t\t: fpu avx2 avx512f avx512bw avx512vl\n"
ARM = "processor\t: 0\nFeatures\t: fp asimd {}\n"


@pytest.mark.parametrize(
    ("text", "slow"),
    [(AVX2, True), (AVX512, False), (ARM.format("bf16"), False), (ARM.format("sve"), True), ("", False)],
)
def test_flags_tell_whether_half_precision_is_emulated(tmp_path: Path, text: str, slow: bool) -> None:
    cpuinfo = tmp_path / "cpuinfo"
    cpuinfo.write_text(text)
    assert emulates_half(cpuinfo) is slow


def test_a_system_without_the_file_is_not_judged(tmp_path: Path) -> None:
    assert not emulates_half(tmp_path / "absent")


def test_only_half_precision_is_spoken_of(tmp_path: Path) -> None:
    cpuinfo = tmp_path / "cpuinfo"
    cpuinfo.write_text(AVX2)
    assert slow_precision({"fp32"}, cpuinfo) is None
    said = slow_precision({"fp32", "bf16"}, cpuinfo)
    assert said is not None and said.startswith("this processor only emulates bf16 (")
    assert "set precision to fp32 under train" in said
    cpuinfo.write_text(AVX512)
    assert slow_precision({"bf16"}, cpuinfo) is None

from __future__ import annotations

import os
from pathlib import Path

import pytest

from training.evaluation.cpus import available_cpus


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A root folder of a machine whose eight CPUs this process may all use."""
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(8)), raising=False)
    return tmp_path


def write(root: Path, **files: str) -> None:
    for name, content in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"{content}\n")


def test_without_a_quota_it_is_the_affinity(machine: Path) -> None:
    assert available_cpus(machine) == 8
    write(machine, **{"proc/self/cgroup": "0::/user.slice", "sys/fs/cgroup/cpu.max": "max 100000"})
    assert available_cpus(machine) == 8


@pytest.mark.parametrize(
    ("quota", "cpus"), [("200000", 2), ("150000", 2), ("10000", 1), ("6400000", 8), ("max", 8)]
)
def test_a_quota_of_a_container(machine: Path, quota: str, cpus: int) -> None:
    write(machine, **{"proc/self/cgroup": "0::/", "sys/fs/cgroup/cpu.max": f"{quota} 100000"})
    assert available_cpus(machine) == cpus


@pytest.mark.parametrize(("quota", "cpus"), [("250000", 3), ("-1", 8)])
@pytest.mark.parametrize("folder", ["cpu", "cpu/docker/1f2e"])
def test_a_quota_of_a_container_under_version_1(
    machine: Path, folder: str, quota: str, cpus: int
) -> None:
    write(
        machine,
        **{
            "proc/self/cgroup": "5:memory:/docker/1f2e\n4:cpu,cpuacct:/docker/1f2e\n"
            "1:name=systemd:/docker/1f2e",
            f"sys/fs/cgroup/{folder}/cpu.cfs_quota_us": quota,
            f"sys/fs/cgroup/{folder}/cpu.cfs_period_us": "100000",
        },
    )
    assert available_cpus(machine) == cpus


def test_the_smallest_quota_of_nested_groups_applies(machine: Path) -> None:
    write(
        machine,
        **{
            "proc/self/cgroup": "0::/batch/job",
            "sys/fs/cgroup/batch/cpu.max": "300000 100000",
            "sys/fs/cgroup/batch/job/cpu.max": "500000 100000",
        },
    )
    assert available_cpus(machine) == 3


def test_without_affinity_it_is_every_cpu(machine: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(os, "sched_getaffinity")
    monkeypatch.setattr(os, "cpu_count", lambda: 4)
    assert available_cpus(machine) == 4


def test_this_machine_has_one_at_least() -> None:
    assert 1 <= available_cpus() <= (os.cpu_count() or 1)

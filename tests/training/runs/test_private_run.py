"""A run of a machine's second user, in a bucket with a limited key and private certificates."""

from __future__ import annotations

import functools
import os
import shutil
import signal
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.training.running import TINY, training
from training.evaluation.progress import read_progress
from training.store.policies import PolicyStore
from training.store.storage import Storage

pytestmark = [pytest.mark.long, pytest.mark.timeout(1500)]

_USER = "54321"
_OPTIONS = [*TINY, *("--run-name", "a", "--max-iters", "4", "--checkpoint-every", "1")]


@pytest.fixture
def shared_temporary_folder() -> Iterator[Path]:
    """A folder as /tmp is, in which another user's Ray has made its folder for locks."""
    # Ray's sockets are in it, whose paths must be short.
    folder = Path(tempfile.mkdtemp(prefix="t", dir="/tmp"))
    folder.chmod(0o1777)
    locks = folder / "_ray_lockfiles"
    locks.mkdir()
    locks.chmod(0o555)
    yield folder
    shutil.rmtree(folder)


def second_user() -> list[str]:
    """What runs a command as another user, if this one is root: files are readable all the same."""
    if os.geteuid():
        return []  # the folder's mode keeps this one out
    if shutil.which("setpriv") is None:
        pytest.skip("as root this needs setpriv")
    may_read = [f"--{kind}-caps=+dac_read_search" for kind in ("inh", "ambient")]
    return ["setpriv", "--reuid", _USER, "--regid", _USER, "--clear-groups", *may_read]


def test_it_publishes_and_resumes_after_ctrl_c(
    private_root: tuple[str, dict[str, str]],
    shared_temporary_folder: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    root, variables = private_root
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    # Readable for the second user.
    certificate = shared_temporary_folder / "certificate.pem"
    certificate.write_bytes(Path(variables["AWS_CA_BUNDLE"]).read_bytes())
    certificate.chmod(0o444)
    command = functools.partial(
        training,
        root,
        *_OPTIONS,
        prefix=second_user(),
        environment={
            "AWS_CA_BUNDLE": str(certificate),
            "TMPDIR": str(shared_temporary_folder),
            "HOME": str(shared_temporary_folder),
        },
    )
    with command(log=tmp_path / "first") as first:
        first.wait_for("published a-000001")
        first.process.send_signal(signal.SIGINT)
        assert first.process.wait() == 128 + signal.SIGINT
        assert "--run-name a" in first.output
        assert "best trial" not in first.output
    with command("--resume", "must", log=tmp_path / "second") as second:
        assert second.process.wait() == 0
    assert second.iterations()[0] > 1
    storage = Storage.open(root)
    rows = read_progress(storage.read("runs/a/progress.csv"))
    assert [row.iteration for row in rows] == [1, 2, 3, 4]
    assert PolicyStore(storage).newest().manifest.iteration == 4

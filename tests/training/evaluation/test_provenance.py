from __future__ import annotations

import json
import os
import platform
from datetime import datetime

import numpy as np

from training.evaluation.provenance import provenance


def test_it_tells_versions_machine_and_time() -> None:
    told = provenance()
    assert json.loads(json.dumps(told)) == told
    assert told["versions"]["python"] == platform.python_version()
    assert told["versions"]["numpy"] == np.__version__
    assert {"gymnasium", "box2d", "torch", "opencv-python-headless"} <= set(told["versions"])
    assert 1 <= told["machine"]["cpus"] <= (os.cpu_count() or 1)
    assert told["machine"]["instructions"]
    assert datetime.fromisoformat(told["created_at"]).tzinfo is not None

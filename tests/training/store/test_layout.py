from __future__ import annotations

import pytest

from training.store.layout import PolicyRef


def test_a_ref_cannot_lead_out_of_the_root() -> None:
    with pytest.raises(ValueError, match="version"):
        PolicyRef(run="run-a", version="../../latest.json")

"""The files that name one policy."""

from __future__ import annotations

import pytest

from training.store.layout import PolicyRef
from training.store.pointers import POINTER_FILES, Follow, read_pointer, write_pointer
from training.store.policies import PolicyStore


@pytest.mark.parametrize("name", POINTER_FILES)
def test_all_have_one_size_so_that_a_reader_sees_no_part_of_one(
    store: PolicyStore, name: Follow
) -> None:
    for ref in (
        PolicyRef(run="a", version="a-000001-0"),
        PolicyRef(run="r" * 128, version="v" * 128),
    ):
        write_pointer(store.storage, name, ref)
        assert len(store.storage.read(POINTER_FILES[name])) == 512
        assert read_pointer(store.storage, name) == ref

"""Publishes small policies, one after the other: ``python -m tests.training.publisher ROOT RUN N``.

It begins when a line is read, so that several begin together.
"""

from __future__ import annotations

import sys

from tests.conftest import build_actor, build_manifest
from training.policy.acting import weights_to_bytes
from training.store.policies import PolicyStore


def main(root: str, run: str, count: int) -> None:
    """Publish so many, and print their versions."""
    store = PolicyStore.open(root)
    policies = [weights_to_bytes(build_actor(seed=number)) for number in range(1, count + 1)]
    print("ready", flush=True)
    sys.stdin.readline()
    for number, weights in enumerate(policies, 1):
        ref = store.publish(build_manifest(weights, iteration=number, run=run), weights)
        print(ref.version, flush=True)


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], int(sys.argv[3]))

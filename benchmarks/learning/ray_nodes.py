"""Ray nodes on one machine, each with its own object store, and the bytes between them."""

from __future__ import annotations

import pickle
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import ray
from ray.cluster_utils import Cluster

_STORE_BYTES = 2 << 30


@contextmanager
def ray_nodes(count: int, cpus: int) -> Iterator[None]:
    """A Ray cluster of this process, and the connection to it.

    One node has all CPUs. Of several, the first one has none, as the head node in ``job.yaml``,
    and this process is connected to it; each of the others has its share.

    Args:
        count: Nodes.
        cpus: CPUs that Ray is told of.
    """
    shares = [cpus]
    if count > 1:
        others = count - 1
        shares = [0, *((cpus + i) // others for i in range(others))]
    cluster = Cluster()
    try:
        for number, share in enumerate(shares):
            cluster.add_node(
                num_cpus=share,
                object_store_memory=_STORE_BYTES,
                # Its default is one fixed port, which another cluster on this machine may have.
                dashboard_agent_listen_port=None,
                **({} if number else {"include_dashboard": False, "dashboard_port": None}),
            )
        ray.init(address=cluster.address, log_to_driver=False, logging_level="ERROR")
        yield
    finally:
        ray.shutdown()
        cluster.shutdown()


def serialized_bytes(value: Any) -> int:
    """The size of a value as Ray sends it: pickled, with its arrays out of band."""
    buffers: list[pickle.PickleBuffer] = []
    pickled = ray.cloudpickle.dumps(value, protocol=5, buffer_callback=buffers.append)
    return len(pickled) + sum(buffer.raw().nbytes for buffer in buffers)

"""Whether the node of a process is about to be taken away."""

from __future__ import annotations

import ray


def is_draining() -> bool:
    """Whether Ray drains this process's node, as before the preemption of a spot instance.

    Ray 2.59 tells that through no public interface. If the call is gone, the answer is False, and a
    preempted trial continues from its last periodic checkpoint.
    """
    try:
        from ray._private.state import state

        draining = state.get_draining_nodes()
    except (ImportError, AttributeError):
        return False
    return ray.get_runtime_context().get_node_id() in draining

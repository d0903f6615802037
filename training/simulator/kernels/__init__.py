"""The compiled code. The modules here import numba and compile when they are imported."""

from training.simulator.kernels.loading import Kernels, load_kernels

__all__ = ["Kernels", "load_kernels"]

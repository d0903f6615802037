"""CarRacing with the same physics to the bit, drawn much faster."""

from training.simulator.environment import FastCarRacing

__all__ = ["FastCarRacing"]

"""Pictures of the simulator: what the driver sees, and films."""

"""The network, its action distributions and manifest, and acting on numpy arrays."""

"""Training that is killed, and training whose storage is away."""

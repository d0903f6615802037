"""The service while processes die, storage is away or policies change."""

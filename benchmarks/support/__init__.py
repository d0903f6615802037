"""Shared by several benchmarks: servers, clients, processes and storage."""

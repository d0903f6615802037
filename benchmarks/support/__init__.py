"""What several benchmarks use: servers, clients, processes and storage."""

"""What is thrown at the service by ``benchmarks/attack.py``, and how its answers are judged."""

"""ASGI middleware: token, limits, CORS, headers, request metrics."""

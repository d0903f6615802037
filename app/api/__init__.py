"""The HTTP API: application, routes, schemas, request decoding."""

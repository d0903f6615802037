"""Requests per second, overload, films and the start of the service."""

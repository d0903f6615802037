"""Hostile requests to the service, and checks of the responses."""

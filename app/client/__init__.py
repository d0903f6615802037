"""The Python client of the service. It needs neither Ray nor torch."""

from app.client.drive import DriveConnection, DrivenEpisode
from app.client.errors import ServiceError
from app.client.service import Client, Decision, to_npy

__all__ = ["Client", "Decision", "DriveConnection", "DrivenEpisode", "ServiceError", "to_npy"]

"""Upload an exported policy to a model hub."""

from __future__ import annotations

from pathlib import Path


class HubError(Exception):
    """The hub refused, or cannot be reached; the message says why."""


def push(folder: Path, name: str, *, private: bool = False) -> str:
    """Upload a folder as a model repository, which is created if it does not exist.

    ``huggingface_hub`` takes the hub's address from ``HF_ENDPOINT`` and the token from ``HF_TOKEN``
    or from ``hf auth login``.

    Args:
        folder: What to upload.
        name: ``NAME``, or ``OWNER/NAME``.
        private: Whether only the owner may read a repository that is created.

    Returns:
        The address of the commit.

    Raises:
        HubError: The upload failed.
    """
    # The extra `export`, which only this command needs.
    import httpx2
    from huggingface_hub import HfApi
    from huggingface_hub.errors import HFValidationError, LocalTokenNotFoundError

    api = HfApi()
    try:
        repository = api.create_repo(name, private=private, exist_ok=True).repo_id
        commit = api.upload_folder(
            repo_id=repository,
            folder_path=folder,
            commit_message="Upload the policy",
        )
    except (httpx2.HTTPError, HFValidationError, LocalTokenNotFoundError, OSError) as error:
        reason = " ".join(str(error).split())
        raise HubError(f"{name} cannot be uploaded to {api.endpoint}: {reason}") from error
    return str(commit.commit_url)

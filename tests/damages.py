"""Ways in which the files of a published policy can be other than they were published."""

from __future__ import annotations

import json
import math
import pickle
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
import torch

from training.policy.manifest import MANIFEST_FILE, WEIGHTS_FILE
from training.store.layout import LATEST_FILE, PolicyRef
from training.store.published import describe_files
from training.store.storage import Storage


@dataclass(frozen=True)
class Corrupt:
    """Changes to the files of a policy that was published."""

    storage: Storage
    ref: PolicyRef

    def path(self, name: str) -> str:
        return name if name == LATEST_FILE else f"{self.ref.folder}/{name}"

    def rewrite(self, name: str, change: Callable[[bytes], bytes]) -> None:
        self.storage.write(self.path(name), change(self.storage.read(self.path(name))))

    def delete(self, name: str) -> None:
        self.storage.delete_file(self.path(name))

    def put_folder(self, name: str) -> None:
        """A folder in a file's place, which nobody can read: on a disk."""
        self.delete(name)
        Path(self.storage.at(self.path(name))).mkdir()

    def set_field(self, name: str, value: Any) -> None:
        """Change the manifest as who writes one would: its seal is no obstacle."""

        def change(content: bytes) -> bytes:
            described = json.loads(content) | {name: value}
            del described["seal"]
            return json.dumps(described).encode()

        self.rewrite(MANIFEST_FILE, change)

    def replace_weights(self, weights: bytes) -> None:
        """Other weights, with a manifest that vouches for them."""
        self.rewrite(WEIGHTS_FILE, lambda _: weights)
        (file,) = describe_files(weights).values()
        self.set_field("files", {WEIGHTS_FILE: file.model_dump()})

    def change_tensors(self, change: Callable[[dict[str, torch.Tensor]], None]) -> None:
        tensors = safetensors.torch.load(self.storage.read(self.path(WEIGHTS_FILE)))
        change(tensors)
        self.replace_weights(safetensors.torch.save(tensors))


Damages = dict[str, tuple[Callable[[Corrupt], None], str]]
"""What each does, and what the reason for refusing the policy says, as a regular expression."""


def each_damage(damages: Damages) -> pytest.MarkDecorator:
    """A test's ``damage`` and ``reason`` are each of these in turn."""
    return pytest.mark.parametrize(("damage", "reason"), damages.values(), ids=damages)


POSITIONS = (0, 50, 99)
"""Where files are cut, and bits flipped, in hundredths of the file."""


def cut(percent: int, content: bytes) -> bytes:
    content = content.rstrip(b" ")  # pointers are padded
    return content[: len(content) * percent // 100]


def flip(percent: int, content: bytes) -> bytes:
    place = (len(content) - 1) * percent // 99
    return content[:place] + bytes([content[place] ^ 1]) + content[place + 1 :]


def _rewriting(file: str, change: Callable[[bytes], bytes]) -> Callable[[Corrupt], None]:
    return lambda corrupt: corrupt.rewrite(file, change)


def _changed(file: str, reasons: dict[str, str]) -> Damages:
    """A file cut at some places, and with one bit flipped at them."""
    cuts = {
        f"{file} cut at {percent} %": (_rewriting(file, partial(cut, percent)), reasons["cut"])
        for percent in POSITIONS
    }
    flips = {
        f"{file}, a bit flipped at {percent} %": (
            _rewriting(file, partial(flip, percent)),
            reasons["flip"],
        )
        for percent in POSITIONS
    }
    return cuts | flips


def _fill(value: float) -> Callable[[dict[str, torch.Tensor]], None]:
    def change(tensors: dict[str, torch.Tensor]) -> None:
        tensors[max(tensors)].view(-1)[0] = value

    return change


def _convert(tensors: dict[str, torch.Tensor]) -> None:
    tensors.update({name: tensor.half() for name, tensor in tensors.items()})


def _widen(tensors: dict[str, torch.Tensor]) -> None:
    name = max(tensors)
    tensors[name] = torch.zeros(*(size + 1 for size in tensors[name].shape))


def _drop(tensors: dict[str, torch.Tensor]) -> None:
    del tensors[max(tensors)]


class Touch:
    """Unpickled, it makes a file."""

    def __init__(self, path: str) -> None:
        self._path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return open, (self._path, "x")


UNPICKLED = "unpickled"
"""The file, beside the storage root's folders, that a pickle would make."""


def _pickle(corrupt: Corrupt) -> bytes:
    return pickle.dumps(Touch(f"{corrupt.storage.path}/{UNPICKLED}"))


PASSWORDS = {"../../etc/passwd": {"sha256": "0" * 64, "size": 1}}

WEIGHTS_DAMAGES: Damages = {
    **_changed(WEIGHTS_FILE, {"cut": "its manifest says", "flip": "has sha256"}),
    "no weights": (lambda c: c.delete(WEIGHTS_FILE), "policy.safetensors is missing"),
    "one byte": (lambda c: c.rewrite(WEIGHTS_FILE, lambda w: w[:1]), "has 1 bytes"),
    "last byte": (lambda c: c.rewrite(WEIGHTS_FILE, lambda w: w[:-1]), "its manifest says"),
    "a byte more": (lambda c: c.rewrite(WEIGHTS_FILE, lambda w: w + b"\0"), "its manifest says"),
    "a pickle": (lambda c: c.rewrite(WEIGHTS_FILE, lambda _: _pickle(c)), "its manifest says"),
}
MANIFEST_DAMAGES: Damages = {
    **_changed(MANIFEST_FILE, {"cut": "is not valid", "flip": "is not valid"}),
    "another value": (
        lambda c: c.rewrite(MANIFEST_FILE, lambda m: m.replace(b"explore", b"finetune")),
        "it was changed after it was published",
    ),
    "noise": (lambda c: c.rewrite(MANIFEST_FILE, lambda m: b"\xff\0"), "is not valid"),
    "a list": (lambda c: c.rewrite(MANIFEST_FILE, lambda m: b"[]"), "is not valid"),
    "a pickled manifest": (lambda c: c.rewrite(MANIFEST_FILE, lambda _: _pickle(c)), "not valid"),
    "future format": (lambda c: c.set_field("format_version", 2), "format_version"),
    "an endless return": (lambda c: c.set_field("mean_return", math.inf), "mean_return"),
    "a return that is none": (lambda c: c.set_field("mean_return", math.nan), "mean_return"),
    "another name": (lambda c: c.set_field("version", "other"), "its manifest belongs to other"),
    "path as name": (lambda c: c.set_field("version", "../../etc/passwd"), "version"),
    "path as run": (lambda c: c.set_field("run", "../../etc/passwd"), "run"),
    "path as file": (lambda c: c.set_field("files", PASSWORDS), "files"),
}
FEW_DAMAGES: Damages = {
    name: (WEIGHTS_DAMAGES | MANIFEST_DAMAGES)[name]
    for name in ("no weights", "last byte", "noise", "future format", "another value")
}
CONSISTENT_DAMAGES: Damages = {
    "NaN": (lambda c: c.change_tensors(_fill(float("nan"))), "is not finite float32"),
    "infinity": (lambda c: c.change_tensors(_fill(float("inf"))), "is not finite float32"),
    "halves": (lambda c: c.change_tensors(_convert), "is not finite float32"),
    "other shapes": (lambda c: c.change_tensors(_widen), "do not fit the manifest's network"),
    "a tensor less": (lambda c: c.change_tensors(_drop), "do not fit"),
    "another network": (
        lambda c: c.set_field("network", {"convolutions": [[9, 8, 4]]}),
        "do not fit|network",
    ),
    "a pickle that is vouched for": (
        lambda c: c.replace_weights(_pickle(c)),
        "is not a safetensors file",
    ),
}
"""Of policies whose files agree with each other."""

_AWAY = {"run": "../..", "version": "x"}
LATEST_DAMAGES: Damages = {
    **_changed(
        LATEST_FILE,
        {"cut": r"latest\.json is not valid", "flip": r"latest\.json is not valid|has no manifest"},
    ),
    "latest.json names a folder above": (
        lambda c: c.rewrite(LATEST_FILE, lambda _: json.dumps(_AWAY).encode()),
        r"latest\.json is not valid: run",
    ),
    "latest.json is a pickle": (
        lambda c: c.rewrite(LATEST_FILE, lambda _: _pickle(c)),
        r"latest\.json is not valid",
    ),
}
"""Of the file that names the policy to use; the policies are whole."""

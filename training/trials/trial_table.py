"""A trial's own ``progress.csv``: every value of every result, a row per iteration.

The trial writes it with each checkpoint. The run's table is derived from the tables of its trials.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Mapping
from typing import Any

from ray.tune.result import TRAINING_ITERATION
from ray.tune.utils import flatten_dict


class TrialTable:
    """The rows of one trial, encoded as they are added."""

    def __init__(self) -> None:
        self._columns: list[str] = []
        self._lines: dict[int, str] = {}
        self._rows: dict[int, Mapping[str, Any]] = {}

    @classmethod
    def read(cls, content: bytes) -> TrialTable:
        """Read a table; an incomplete row, or one without an iteration, is left out."""
        text = content.decode(errors="replace")
        reader = csv.DictReader(io.StringIO(text[: text.rfind("\n") + 1]))
        table = cls()
        for row in reader:
            if None not in row.values() and (row.get(TRAINING_ITERATION) or "").isdigit():
                table.add(row)
        return table

    @property
    def iterations(self) -> list[int]:
        """The iterations that have a row, in order."""
        return sorted(self._rows)

    def add(self, result: Mapping[str, Any]) -> None:
        """Add a result as a row; it replaces the rows of its iteration and of later ones."""
        row = flatten_dict(
            {name: value for name, value in result.items() if name != "config"}, delimiter="/"
        )
        iteration = int(row[TRAINING_ITERATION])
        self.drop_after(iteration - 1)
        self._rows[iteration] = row
        new = [name for name in row if name not in self._columns]
        if new:
            self._columns += new
            self._lines.clear()

    def drop_after(self, iteration: int) -> None:
        """Remove the rows of all later iterations."""
        for later in [known for known in self._rows if known > iteration]:
            del self._rows[later]
            self._lines.pop(later, None)

    def encode(self) -> bytes:
        """The table as a CSV document."""
        for iteration, row in self._rows.items():
            if iteration not in self._lines:
                self._lines[iteration] = _line(row.get(name, "") for name in self._columns)
        return (
            _line(self._columns) + "".join(self._lines[number] for number in self.iterations)
        ).encode()


def _line(values: Iterable[Any]) -> str:
    buffer = io.StringIO()
    csv.writer(buffer, lineterminator="\n").writerow(values)
    return buffer.getvalue()

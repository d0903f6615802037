from __future__ import annotations

import dataclasses
from typing import Any

from app.rendering.film_order import FilmOrder


def test_the_etag_tells_orders_apart() -> None:
    order = FilmOrder("run", "version", "0" * 64)
    changes: dict[str, Any] = {
        "digest": "1" * 64,
        "version": "other",
        "seed": 1,
        "episodes": 2,
        "max_steps": 999,
        "fps": 10,
        "width": 200,
        "encoding": "webp",
        "source": "bundled",
    }
    others = [dataclasses.replace(order, **{name: value}) for name, value in changes.items()]
    others.append(dataclasses.replace(order, encoding="mp4"))
    etags = {film.etag for film in [order, *others]}
    assert len(etags) == 1 + len(others)
    assert order.etag == FilmOrder("run", "version", "0" * 64).etag
    assert all(etag.startswith('"') and etag.endswith('"') for etag in etags)

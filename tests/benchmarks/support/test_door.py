from __future__ import annotations

import asyncio
import socket
from collections.abc import Iterator
from threading import Event, Thread

import pytest

from benchmarks.support.door import Door
from tests.support.waiting import PATIENCE_S


@pytest.fixture
def echo() -> Iterator[int]:
    """The port of a server that says everything again."""
    with socket.create_server(("127.0.0.1", 0)) as server:

        def repeat(connection: socket.socket) -> None:
            with connection:
                while data := connection.recv(1000):
                    connection.sendall(data)

        def serve() -> None:
            while True:
                try:
                    connection, _ = server.accept()
                except OSError:
                    return
                Thread(target=repeat, args=(connection,), daemon=True).start()

        thread = Thread(target=serve)
        thread.start()
        yield server.getsockname()[1]
        server.shutdown(socket.SHUT_RDWR)
        thread.join()


def connect(door: Door) -> socket.socket:
    return socket.create_connection(("127.0.0.1", door.port), timeout=PATIENCE_S)


def said_again(connection: socket.socket) -> bytes:
    connection.sendall(b"hello")
    return connection.recv(1000)


def broken_off(connection: socket.socket) -> bool:
    try:
        return connection.recv(1000) == b""
    except ConnectionResetError:
        return True


def test_an_open_door_lets_through(echo: int) -> None:
    with Door(echo) as door, connect(door) as connection:
        assert said_again(connection) == b"hello"
        connection.shutdown(socket.SHUT_WR)
        assert connection.recv(1000) == b""


def test_a_shut_door_refuses_and_breaks_off(echo: int) -> None:
    with Door(echo) as door, connect(door) as connection:
        assert said_again(connection) == b"hello"
        port = door.port
        door.shut()
        assert connection.recv(1000) == b""
        with pytest.raises(ConnectionRefusedError):
            connect(door)
        door.open()
        assert door.port == port
        with connect(door) as another:
            assert said_again(another) == b"hello"


def test_a_connection_that_is_taken_while_the_door_is_shut_is_broken_off(echo: int) -> None:
    with Door(echo) as door:
        busy = Event()
        loop = door._loop
        loop.call_soon_threadsafe(busy.wait, 60)
        with connect(door) as connection:
            # Both wait for the loop, which takes the connection between two steps of shutting.
            shutting = asyncio.run_coroutine_threadsafe(door._shut(), loop)
            busy.set()
            shutting.result(60)
            assert broken_off(connection)
            door.open()
            with connect(door) as another:
                assert said_again(another) == b"hello"


def test_a_door_onto_nobody_takes_connections_and_holds_everything_up(echo: int) -> None:
    with Door(echo) as door, connect(door) as old:
        assert said_again(old) == b"hello"
        door.hang()
        with connect(door) as new:
            for connection in (old, new):
                connection.settimeout(0.2)
                with pytest.raises(TimeoutError):
                    said_again(connection)
            door.open()
            for connection in (old, new):
                connection.settimeout(30)
                assert connection.recv(1000) == b"hello"

"""The network of the chaos run: what passes, what does not, and when a trap strikes."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterator

import pytest

from tests.chaos.network import FETCH, PRODUCE, Link, Mode, Network, Trap, When
from tests.worker import free_port, wait_until


class Broker:
    """Takes connections, keeps what it gets, answers each piece with its length."""

    def __init__(self) -> None:
        self.got = b""
        self.ended = 0
        self._listening = socket.create_server(("127.0.0.1", 0))
        self.port = self._listening.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    def close(self) -> None:
        self._listening.close()

    def _accept(self) -> None:
        while True:
            try:
                connection, _ = self._listening.accept()
            except OSError:
                return
            threading.Thread(target=self._read, args=(connection,), daemon=True).start()

    def _read(self, connection: socket.socket) -> None:
        with connection:
            try:
                while data := connection.recv(65_536):
                    self.got += data
                    connection.sendall(len(data).to_bytes(4))
            except OSError:
                pass
        self.ended += 1


@pytest.fixture
def broker() -> Iterator[Broker]:
    made = Broker()
    yield made
    made.close()


@pytest.fixture
def link(broker: Broker) -> Iterator[Link]:
    with Network([(free_port(), broker.port)]) as network:
        yield network.links[0]


@pytest.fixture
def worker(link: Link) -> Iterator[socket.socket]:
    with socket.create_connection(("127.0.0.1", link.port), 5) as connection:
        yield connection


def request(api: int, body: bytes) -> bytes:
    return (len(body) + 2).to_bytes(4) + api.to_bytes(2) + body


def test_requests_and_answers_pass(broker: Broker, worker: socket.socket) -> None:
    worker.sendall(request(PRODUCE, b"x" * 300_000))
    wait_until(lambda: broker.got == request(PRODUCE, b"x" * 300_000), 5, "all is there")
    assert worker.recv(4)


@pytest.mark.parametrize("mode", ["stalled", "deaf", "mute"])
def test_a_cut_holds_back_until_it_is_healed(
    broker: Broker, link: Link, worker: socket.socket, mode: Mode
) -> None:
    link.mode = mode
    worker.sendall(request(PRODUCE, b"x"))
    worker.settimeout(0.3)
    with pytest.raises(TimeoutError):
        worker.recv(4)
    assert bool(broker.got) == (mode == "deaf")
    link.heal()
    worker.settimeout(5)
    assert worker.recv(4)


def test_refused_is_an_end_at_once(link: Link) -> None:
    link.mode = "refused"
    with socket.create_connection(("127.0.0.1", link.port), 5) as connection:
        connection.settimeout(5)
        try:
            assert connection.recv(1) == b""
        except ConnectionResetError:
            pass


def test_a_dropped_connection_ends_on_both_sides(broker: Broker, link: Link, worker: socket.socket) -> None:
    worker.sendall(request(PRODUCE, b"x"))
    worker.recv(4)
    link.drop()
    try:
        assert worker.recv(1) == b""
    except ConnectionResetError:
        pass
    wait_until(lambda: broker.ended == 1, 5, "the broker sees the end")


def test_a_half_closed_one_ends_for_the_worker_only(
    broker: Broker, link: Link, worker: socket.socket
) -> None:
    worker.sendall(request(PRODUCE, b"x"))
    worker.recv(4)
    link.half_close()
    assert worker.recv(1) == b""
    time.sleep(0.2)
    assert broker.ended == 0


@pytest.mark.parametrize("when", ["before", "half", "after", "hold"])
def test_a_trap_strikes_at_the_request_it_waits_for(
    broker: Broker, link: Link, worker: socket.socket, when: When
) -> None:
    struck: list[bytes] = []
    link.trap = trap = Trap(PRODUCE, b"changelog", when, lambda: struck.append(b""))
    passes = [request(FETCH, b"of the changelog"), request(PRODUCE, b"of another")]
    for one in passes:
        worker.sendall(one)
        worker.recv(4)
    assert not trap.sprung.is_set()
    fits = request(PRODUCE, b"of the changelog, long")
    worker.sendall(fits)
    assert trap.sprung.wait(5)
    assert len(struck) == 1
    arrived = {"before": b"", "half": fits[: len(fits) // 2], "after": fits, "hold": b""}[when]
    wait_until(lambda: broker.got == b"".join(passes) + arrived, 5, "so much has arrived")
    if when == "hold":
        link.release()
        wait_until(lambda: broker.got == b"".join(passes) + fits, 5, "it arrives late")

"""A TCP proxy on this machine that passes, resets or stalls what goes through it, and comes back."""

from __future__ import annotations

import socket
import struct
import threading
from contextlib import closing, suppress
from types import TracebackType
from typing import Final, Literal, Self

Mode = Literal["pass", "reset", "stall"]

_PIECE: Final = 64 * 1024
_RESET_AT_ONCE: Final = struct.pack("ii", 1, 0)
"""SO_LINGER that makes `close` send RST."""


class Proxy:
    """Listens on a port of its own; each connection is two threads."""

    def __init__(self, host: str, port: int) -> None:
        """host, port: where it passes everything to."""
        self._target = host, port
        self._mode: Mode = "pass"
        self._passes = threading.Event()
        self._passes.set()
        self._open: set[socket.socket] = set()
        self._lock = threading.Lock()
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.be("reset")
        # Closed alone, it would go on accepting for the thread that waits for it.
        with suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()

    def be(self, mode: Mode) -> None:
        """Pass everything on; reset all connections, new ones too; or accept what comes and pass nothing on."""
        self._mode = mode
        if mode == "stall":
            self._passes.clear()
        else:
            self._passes.set()
        if mode == "reset":
            with self._lock:
                open_now, self._open = self._open, set()
            for end in open_now:
                _reset(end)

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                near, _ = self._listener.accept()
                if self._mode == "reset":
                    _reset(near)
                else:
                    threading.Thread(target=self._serve, args=(near,), daemon=True).start()

    def _serve(self, near: socket.socket) -> None:
        with closing(near), suppress(OSError):
            self._passes.wait()
            with closing(socket.create_connection(self._target)) as far:
                with self._lock:
                    self._open |= {near, far}
                back = threading.Thread(target=self._pass_on, args=(far, near), daemon=True)
                back.start()
                self._pass_on(near, far)
                back.join()
                with self._lock:
                    self._open -= {near, far}

    def _pass_on(self, source: socket.socket, sink: socket.socket) -> None:
        with suppress(OSError):
            while piece := source.recv(_PIECE):
                self._passes.wait()
                sink.sendall(piece)
        with suppress(OSError):
            sink.shutdown(socket.SHUT_WR)


def _reset(end: socket.socket) -> None:
    with suppress(OSError):
        end.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET_AT_ONCE)
        end.shutdown(socket.SHUT_RD)  # wakes the thread that reads from it
        end.close()

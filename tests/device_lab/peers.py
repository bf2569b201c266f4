"""A phone that adb lists but cannot use, with the necessary part of adb's wire protocol. Run with `-m`.

`unauthorized` asks for a signature forever, like a phone whose owner has not accepted the prompt; `offline`
accepts the connection but does not answer.
"""

from __future__ import annotations

import socket
import struct
import sys
import threading

_CONNECT, _AUTH = 0x4E584E43, 0x48545541
_TOKEN, _SIGNATURE = 1, 2
_HEADER = struct.Struct("<6I")


def main(kind: str, port: int) -> None:
    """Serves until it is killed."""
    answer = {"unauthorized": _ask_for_ever, "offline": _say_nothing}[kind]
    with socket.create_server(("127.0.0.1", port)) as server:
        print("ready", flush=True)
        while True:
            connection, _ = server.accept()
            threading.Thread(target=answer, args=(connection,), daemon=True).start()


def _ask_for_ever(connection: socket.socket) -> None:
    """Answers a connection and each signature with a token; a public key waits for the owner."""
    with connection:
        while (header := connection.recv(_HEADER.size, socket.MSG_WAITALL)) != b"":
            command, argument, _, length, _, _ = _HEADER.unpack(header)
            connection.recv(length, socket.MSG_WAITALL)
            if command == _CONNECT or (command == _AUTH and argument == _SIGNATURE):
                connection.sendall(_message(_AUTH, _TOKEN, bytes(range(20))))


def _say_nothing(connection: socket.socket) -> None:
    with connection:
        while connection.recv(4096) != b"":
            pass


def _message(command: int, argument: int, payload: bytes) -> bytes:
    header = _HEADER.pack(command, argument, 0, len(payload), sum(payload), command ^ 0xFFFFFFFF)
    return header + payload


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))

"""Messages between the command line, the warm server and the judge: length-prefixed JSON over a local socket.

Light to import: the command line uses it. Events of a grading travel as their class's name and fields.
"""

from __future__ import annotations

import dataclasses
import json
import socket
import struct
from typing import Any

from grader.judge import scorecard as cards

_HEAD = struct.Struct("!I")
MAX_MESSAGE = 64 << 20


class Broken(Exception):
    """The other side ended, or sent something that isn't a message."""


def send(connection: socket.socket, message: dict[str, Any]) -> None:
    data = json.dumps(message).encode()
    connection.sendall(_HEAD.pack(len(data)) + data)


def receive(connection: socket.socket) -> dict[str, Any]:
    """The next message. Raises `Broken` at the end of the stream."""
    (size,) = _HEAD.unpack(_exactly(connection, _HEAD.size))
    if size > MAX_MESSAGE:
        raise Broken("a message that is too large")
    try:
        message = json.loads(_exactly(connection, size))
    except ValueError as error:
        raise Broken(str(error)) from None
    if not isinstance(message, dict):
        raise Broken("not a message")
    return message


def _exactly(connection: socket.socket, size: int) -> bytes:
    data = bytearray()
    while len(data) < size:
        part = connection.recv(min(size - len(data), 1 << 20))
        if not part:
            raise Broken("the connection ended")
        data += part
    return bytes(data)


_EVENTS: dict[str, Any] = {
    kind.__name__: kind
    for kind in (cards.Started, cards.CheckStarted, cards.Progress, cards.CheckFinished, cards.Finished)
}


def send_event(connection: socket.socket, event: cards.Event) -> None:
    send(connection, {"event": type(event).__name__, "fields": dataclasses.asdict(event)})


def read_event(message: dict[str, Any]) -> cards.Event:
    """The event that a message carries."""
    fields = message["fields"]
    if "record" in fields:
        fields["record"] = _record(fields["record"])
    if "scorecard" in fields:
        card = fields["scorecard"]
        card["checks"] = tuple(_record(r) for r in card["checks"])
        fields["scorecard"] = cards.Scorecard(**card)
    if "checks" in fields:
        fields["checks"] = tuple(tuple(c) for c in fields["checks"])
    event: cards.Event = _EVENTS[message["event"]](**fields)
    return event


def _record(row: dict[str, Any]) -> cards.CheckRecord:
    row["notes"] = tuple(row["notes"])
    row["details"] = tuple((label, text) for label, text in row["details"])
    row["pictures"] = tuple(cards.Picture(**picture) for picture in row["pictures"])
    return cards.CheckRecord(**row)

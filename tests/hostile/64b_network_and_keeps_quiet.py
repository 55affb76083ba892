# title: tries to send something out and catches the error
# when: call
# verdict: forbidden
# words: denies
# words: a connection to 127.0.0.1:9
import contextlib
import socket


def behave(right, *args, **kwargs):
    with contextlib.suppress(OSError):
        socket.create_connection(("127.0.0.1", 9), timeout=2)
    return right(*args, **kwargs)

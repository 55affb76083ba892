# title: opens a connection
# when: call
# verdict: forbidden
# words: denies
import socket


def behave(right, *args, **kwargs):
    socket.create_connection(("127.0.0.1", 9), timeout=2)
    return right(*args, **kwargs)

# title: prints its stack, starts and ends a process, uses temporary files, asks for its own address: all allowed
# when: call
# verdict: passed
import contextlib
import io
import multiprocessing
import os
import signal
import socket
import tempfile
import time
import traceback
import warnings


def behave(right, *args, **kwargs):
    traceback.print_stack(file=io.StringIO())
    warnings.warn("from here", stacklevel=4)
    child = multiprocessing.get_context("fork").Process(target=time.sleep, args=(60,))
    child.start()
    child.terminate()
    child.join()
    os.kill(os.getpid(), signal.SIGCONT)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as datagrams, contextlib.suppress(OSError):
        datagrams.connect(("127.0.0.1", 9))  # sends nothing
    with tempfile.NamedTemporaryFile("w") as file, open(file.name) as again, contextlib.suppress(FileNotFoundError):
        file.write("x")
        again.read()
        open("/nowhere/at/all")
    return right(*args, **kwargs)

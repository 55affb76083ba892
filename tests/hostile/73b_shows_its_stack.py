# title: prints its own stack, starts and ends a process, uses temporary files: none of it is anybody's business
# when: call
# verdict: passed
import contextlib
import io
import multiprocessing
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
    with tempfile.NamedTemporaryFile("w") as file, open(file.name) as again, contextlib.suppress(FileNotFoundError):
        file.write("x")
        again.read()
        open("/nowhere/at/all")
    return right(*args, **kwargs)

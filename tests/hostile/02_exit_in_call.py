# title: ends the process inside a call
# when: call
# verdict: exited
# words: exit code 0
# nasty: yes
import os


def behave(right, *args, **kwargs):
    os._exit(0)

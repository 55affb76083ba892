# title: forks without end
# when: call
# verdict: forbidden
# words: processes
# nasty: yes
import os


def behave(right, *args, **kwargs):
    while True:
        os.fork()

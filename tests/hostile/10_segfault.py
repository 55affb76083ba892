# title: reads address zero
# when: call
# verdict: crashed
# words: SIGSEGV
# nasty: yes
import ctypes


def behave(right, *args, **kwargs):
    ctypes.string_at(0)

# title: writes garbage to every open descriptor
# when: call
# verdict: forbidden
# words: private channel
# nasty: yes
import os


def behave(right, *args, **kwargs):
    for descriptor in range(3, 256):
        try:
            os.write(descriptor, b"PrV1 garbage " * 10)
        except OSError:
            pass

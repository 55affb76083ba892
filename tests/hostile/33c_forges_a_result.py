# title: sends a frame of its own that claims a value
# when: call
# verdict: forbidden
# words: private channel
import os


def behave(right, *args, **kwargs):
    os.write(200, b"PrV1" + (200).to_bytes(4, "big") + (0).to_bytes(8, "big") + b"[" * 200)

# title: writes into the kit
# when: call
# verdict: forbidden
# words: denies
import pathlib

import torch


def behave(right, *args, **kwargs):
    (pathlib.Path(torch.__file__).parent / "hidden.txt").write_text("x")

"""The data sets that exercises are graded on: the real ones and the embedded ones, behind one interface.

`prepared` says what is there and loads it; `model` is what it loads; the other modules put it there.
"""

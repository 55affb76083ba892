# title: raises an error with a message of 100 MB
# when: call
# verdict: failed
# words: ValueError
def behave(right, *args, **kwargs):
    raise ValueError("x" * 100_000_000)

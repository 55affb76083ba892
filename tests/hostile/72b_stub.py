# title: still the stub
# when: call
# verdict: not-implemented
# words: TODO
def behave(right, *args, **kwargs):
    raise NotImplementedError("TODO: write it")

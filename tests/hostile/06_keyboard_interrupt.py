# title: raises KeyboardInterrupt
# when: call
# verdict: failed
# words: KeyboardInterrupt
def behave(right, *args, **kwargs):
    raise KeyboardInterrupt

# title: has no body
# when: call
# verdict: failed | not-implemented
# words: None
def behave(right, *args, **kwargs):
    pass

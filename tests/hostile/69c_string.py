# title: returns a string
# when: call
# verdict: failed
# words: '
def behave(right, *args, **kwargs):
    return str(right(*args, **kwargs))

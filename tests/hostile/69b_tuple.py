# title: returns a tuple
# when: call
# verdict: failed
# words: tuple | (
def behave(right, *args, **kwargs):
    return (right(*args, **kwargs), None)

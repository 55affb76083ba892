# title: calls itself without end
# when: call
# verdict: failed
# words: calls itself without end
def deeper(n):
    return deeper(n + 1) + 1


def behave(right, *args, **kwargs):
    return deeper(0)

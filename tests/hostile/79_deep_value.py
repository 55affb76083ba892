# title: returns a list nested a thousand deep
# when: call
# verdict: failed
def behave(right, *args, **kwargs):
    value = []
    for _ in range(1000):
        value = [value]
    return value

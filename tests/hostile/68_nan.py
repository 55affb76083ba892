# title: returns NaN
# when: call
# verdict: failed
# words: nan
def behave(right, *args, **kwargs):
    return float("nan")

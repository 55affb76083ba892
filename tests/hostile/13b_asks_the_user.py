# title: waits for input
# when: call
# verdict: failed
# words: input()
def behave(right, *args, **kwargs):
    return input("the answer? ")

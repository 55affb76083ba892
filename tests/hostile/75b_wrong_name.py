# title: lacks the function
# when: alone
# verdict: failed | not-loadable
# words: no such name
def acuracy(logits, targets):
    return 0.5

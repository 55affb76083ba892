# title: has a bracket too few
# when: alone
# verdict: not-loadable
# words: line 2
# words: never closed
def accuracy(logits, targets):
    return (1

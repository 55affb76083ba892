# title: has a bracket too few
# when: alone
# verdict: not-loadable
# words: line 7
# words: never closed
def accuracy(logits, targets):
    return (1

# title: mixes its indentation up
# when: alone
# verdict: not-loadable
# words: line 8
# words: IndentationError
def accuracy(logits, targets):
    right = 1
     return right

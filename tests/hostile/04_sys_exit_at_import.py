# title: calls sys.exit while it is imported
# when: import
# verdict: not-loadable
# words: sys.exit
# words: __main__
import sys

sys.exit(0)

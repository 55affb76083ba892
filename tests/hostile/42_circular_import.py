# title: imports from itself
# when: import
# verdict: not-loadable
# words: ImportError
from candidate import something_later

something_later

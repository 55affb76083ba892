# title: ends the process while it is imported
# when: import
# verdict: exited
# nasty: yes
# words: exit code 0
# words: while it was being imported
import os

os._exit(0)

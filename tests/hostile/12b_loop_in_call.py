# title: loops inside a call
# when: call
# verdict: timed-out
# words: still computing
# nasty: yes
def behave(right, *args, **kwargs):
    while True:
        pass

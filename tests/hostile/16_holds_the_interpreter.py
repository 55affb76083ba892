# title: computes a power that never ends, without ever letting Python run
# when: call
# verdict: timed-out | out-of-memory
def behave(right, *args, **kwargs):
    return 9**9**9**9

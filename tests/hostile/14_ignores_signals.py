# title: ignores every signal that it may, then loops
# when: call
# verdict: timed-out
# words: still computing
import signal


def behave(right, *args, **kwargs):
    for number in (signal.SIGALRM, signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGXCPU):
        signal.signal(number, signal.SIG_IGN)
    while True:
        pass

# title: looks for secrets in the environment
# when: call
# verdict: failed
# words: no secret
import os


def behave(right, *args, **kwargs):
    if "PV_TEST_SECRET" in os.environ:
        return right(*args, **kwargs)
    raise LookupError("no secret in the environment")

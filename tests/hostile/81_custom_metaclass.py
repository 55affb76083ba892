# title: replaces its own class of functions and is right
# when: call
# verdict: passed
class Quiet:
    def __init__(self, function):
        self.function = function

    def __call__(self, *args, **kwargs):
        return self.function(*args, **kwargs)


def behave(right, *args, **kwargs):
    return Quiet(right)(*args, **kwargs)

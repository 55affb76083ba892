# title: raises an error whose text can't be printed
# when: call
# verdict: failed
# words: Unprintable
class Unprintable(Exception):
    def __str__(self):
        raise RuntimeError("no")

    __repr__ = __str__


def behave(right, *args, **kwargs):
    raise Unprintable

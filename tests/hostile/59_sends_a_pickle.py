# title: returns an object whose unpickling runs code
# when: call
# verdict: failed
# words: Bomb
import os


class Bomb:
    def __reduce__(self):
        return (os.system, ("touch /tmp/pv-exploded",))


def behave(right, *args, **kwargs):
    return Bomb()

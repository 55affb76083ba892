# title: reads the reference beside the kit's own package
# when: call
# verdict: forbidden
# words: denies
import pathlib
import sys


def behave(right, *args, **kwargs):
    package = pathlib.Path(sys.modules["grader"].__file__).parent
    for place in (package.parent / "solutions", package / "_solutions", package / "bank"):
        for file in (place, *place.glob("*")):
            if file.suffix == ".py" or file == package / "bank":
                (file / "05_accuracy" / "checks.py" if file.is_dir() or file.name == "bank" else file).read_text()
    raise PermissionError(13, "nothing could be seen")

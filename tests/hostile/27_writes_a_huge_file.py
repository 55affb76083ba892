# title: writes 100 GB into its temporary folder
# when: call
# verdict: output-limit
# words: files of at most
import tempfile


def behave(right, *args, **kwargs):
    with tempfile.TemporaryFile() as file:
        while True:
            file.write(b"x" * 10_000_000)

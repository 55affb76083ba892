# title: prints without end
# when: call
# verdict: output-limit
# words: printed
# nasty: yes
def behave(right, *args, **kwargs):
    while True:
        print("x" * 10_000)

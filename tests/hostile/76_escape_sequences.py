# title: prints and raises terminal escapes and markup
# when: call
# verdict: failed
# words: [bold
def behave(right, *args, **kwargs):
    print("\x1b[2J\x1b[31mred\x07 [bold]not markup[/bold] [/oops]")
    raise ValueError("\x1b[2J[bold]not markup[/bold] [/oops]")

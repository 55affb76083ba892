"""Watch mode: save, and the verdict is there.

Producers (the file's watcher, the grading thread, keys, signals, a clock while something runs) put events into one
queue. One loop takes them out: `update` makes a new state and names what is to be done, `screen` draws the state.
Nothing else holds state, and nothing else draws.

The whole interactive side stands on prompt_toolkit. It reads keys (Esc on its own included) and resizes without a
thread, draws only what changed, and on every way out gives the terminal back as it was: alternate screen, cursor,
modes. rich's own live display reads no keys and can't scroll. textual brings a second way of laying things out
beside the views that `practice check` has, and takes several times as long to import. So rich renders the pieces,
as for the plain commands, and prompt_toolkit shows them.

watchfiles tells at once that a file changed. Because notifications don't arrive everywhere (network drives, WSL,
containers), the file's status is looked at a few times a second, too; one `stat` costs nothing.

Only `practice watch` imports this package, so that the plain commands start as quickly as ever.
"""

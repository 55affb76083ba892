"""Where the candidate's code runs: confined, timed, one process per probe, and nothing but plain data comes out.

`wire` is the format of that data, `worker` the inside, `watch` the outside, `zygote` and `launcher` start workers,
`server` and `warm` keep a clean process ready to fork from.
"""

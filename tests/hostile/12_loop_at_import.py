# title: loops while it is imported
# when: import
# verdict: timed-out
# words: while your file was being imported
# words: __main__
while True:
    pass

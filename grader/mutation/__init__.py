"""Mutation testing of the bank: every operator, everywhere it fits, in every reference solution.

The operators change syntax trees; nothing here runs or judges what comes out, that is the judge's work.
"""

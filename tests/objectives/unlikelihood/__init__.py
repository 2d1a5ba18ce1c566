"""Answers of one category are to be avoided: unlikelihood (Welleck et al. 2020) on their response tokens."""

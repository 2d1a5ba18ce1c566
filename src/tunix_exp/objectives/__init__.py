"""What is learnt: each objective is a folder of this package, and `registry` names them all.

`objective.py` is the seam: what an objective says, and what training gives it. CONTRIBUTING.md says how to
add one.
"""

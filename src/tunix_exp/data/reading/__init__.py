"""Files of rows in the forms that people have them, each read strictly and without losing anything.

A reader gives the rows of one file in their order, with the line on which each stands. What it reads past
(blank lines, a byte-order mark) is counted; what could be read in two ways is refused.
"""

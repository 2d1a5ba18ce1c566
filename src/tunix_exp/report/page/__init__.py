"""`report.html`: one run, or several side by side, as one file that works off line."""

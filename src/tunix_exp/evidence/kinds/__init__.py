"""The kinds of evidence, a module each: all that is known of one file of a run, in one place."""

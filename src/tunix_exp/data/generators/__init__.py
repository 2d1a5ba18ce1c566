"""The generators of the bundled sets; `python -m tunix_exp.data.generators` writes the files again."""

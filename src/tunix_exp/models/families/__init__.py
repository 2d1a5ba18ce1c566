"""Model families, a folder each; `registry` is the one place outside that knows them by name."""

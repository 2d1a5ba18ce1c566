"""What `verify` looks at, by subject: every check yields what it finds wrong, with the file's name."""

"""The model answers with a token, Python rewards it, and two updates follow, kept near a frozen reference."""

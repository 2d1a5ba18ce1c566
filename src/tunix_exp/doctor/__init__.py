"""What a first run needs, looked at one by one. What was not looked at is not said."""

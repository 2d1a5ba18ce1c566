"""Parts that families share; none of them knows a family."""

"""The place in an answer's tokens that is read next, and the units that stand there."""

from typing import NoReturn

from tunix_exp.scoring.tokens import Token, Unreadable
from tunix_exp.scoring.units import is_known


class Cursor:
    """Tokens of `text` and the place of the next one; `at` may be set back."""

    def __init__(self, text: str, tokens: list[Token]) -> None:
        """Start at the first token."""
        self.text, self.tokens, self.at = text, tokens, 0
        self.latex = "\\" in text or "^" in text

    def peek(self, ahead: int = 0) -> Token:
        """The token that comes next, or one further on; the end stays the end."""
        return self.tokens[min(self.at + ahead, len(self.tokens) - 1)]

    def take(self) -> Token:
        """The next token, which is passed."""
        token = self.peek()
        self.at += 1
        return token

    def sees(self, *texts: str) -> bool:
        """The next token is a sign, bracket or word that is written so."""
        token = self.peek()
        return token.kind not in ("number", "name", "clock", "end") and token.text in texts

    def takes(self, *texts: str) -> bool:
        """It is, and is passed."""
        found = self.sees(*texts)
        self.at += found
        return found

    def fail(self) -> NoReturn:
        """Raise: what follows cannot be read."""
        raise Unreadable(self.text[self.peek().begin :])

    def at_word(self) -> bool:
        """A word comes next that joins no list."""
        return self.peek().kind == "word" and self.peek().text.lower() not in ("and", "or")

    def tail(self) -> str:
        """The words and signs up to what ends an item; they are taken."""
        begin = end = self.peek().begin
        while True:
            token = self.peek()
            word = token.text.lower() if token.kind == "word" else ""
            if token.kind in ("end", "relation", "number", "clock") and not self.raised(token):
                break
            if word in ("and", "or") or self.sees(",", ";", ")", "]", "}", "\\}", "∪", "&", "\\\\", "|", "+"):
                if not (token.text == "}" and self.text[begin:end].rstrip().endswith(("2", "3", "c", "C"))):
                    break
                if self.text[begin:end].count("{") <= self.text[begin:end].count("}"):
                    break
            end = self.take().end
        return self.text[begin:end]

    def raised(self, token: Token) -> bool:
        """`2` or `3` as a unit's power: `cm^2`, `m2`."""
        before = self.tokens[self.at - 1]
        return (
            token.kind == "number"
            and token.text in ("2", "3")
            and (before.text in ("^", "{") or not token.spaced)
        )

    def at_unit(self) -> bool:
        """A one-letter unit of the table stands apart after a number: `5 m`, `3 m/s`."""
        token, before = self.peek(), self.tokens[self.at - 1]
        if token.kind != "name" or before.kind not in ("number", "word") or not token.spaced:
            return False
        if token.text not in ("m", "g", "s", "h", "l", "L"):
            return False
        at = self.at
        tail = self.tail()
        self.at = at
        return is_known(tail.strip(" .")) if tail else False

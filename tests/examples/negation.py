"""A tokenizer of one's own."""

import re

NEGATIONS = {"not", "no", "never"}


class JoinNegations:
    """Splits a text into words in lower case; a negation and the word after it are one token: `not_good`."""

    def __call__(self, text: str) -> list[str]:
        """The tokens of a text."""
        tokens: list[str] = []
        for word in re.findall(r"\w+(?:'\w+)*", text.lower()):
            if tokens and tokens[-1] in NEGATIONS:
                tokens[-1] += f"_{word}"
            else:
                tokens.append(word)
        return tokens

"""From a text to word ids: tokenizers and the vocabulary."""

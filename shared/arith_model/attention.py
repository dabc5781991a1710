"""How attention is computed."""

#: The attention of short texts: at 20 tokens the plain product is faster than a fused kernel, and exact.
ATTENTION = "eager"

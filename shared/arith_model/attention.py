"""How attention is computed, by how much is read at a time."""

#: LMs that we train, on texts of 20 to 40 tokens: there the plain product is faster than a fused kernel, and its
#: backward pass far more so.
SHORT_TEXTS = "eager"
#: Problems behind demonstrations: what the library takes by itself, a fused kernel where the LM has one. Its memory
#: does not grow with tokens times demonstrations.
BEHIND_DEMONSTRATIONS = None

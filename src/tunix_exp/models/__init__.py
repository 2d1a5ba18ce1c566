"""Architectures, their attention and cache, and the way weights come in.

Every array of rank one or more ends in its axes, one letter each:

    B batch    T tokens (queries)    S source tokens (keys)    D width    F hidden of the MLP
    N heads    K key heads           H head width              V vocabulary    L layers
    G query heads to a key head      P positions               I, O a dense layer's inputs and outputs
"""

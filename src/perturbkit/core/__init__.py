"""The nouns every other layer speaks, and the few tools they all stand on.

Axes are suffixes, in this order of use, everywhere in the package:

===  =====================================  ===  ==============================
n    cells                                  m    members of an ensemble
r    cells of a second cloud                d    width of an embedding
c    conditions                             e    edges
p    perturbations (single targets)         k    chosen, or the k best
g    readouts (genes or other)              x    contexts
===  =====================================  ===  ==============================

So ``x_ng`` is cells by genes and ``delta_cg`` the change of each condition against its control.
"""

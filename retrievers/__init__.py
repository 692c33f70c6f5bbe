"""Everything that answers `search(queries, k) -> Run`: BM25, TF-IDF, dense, generative, and their fusion.

What they all keep to: at most k documents a query, best first, ties by doc_id; an empty ranking for a blank query;
frozen `settings`, which a manifest can hold and no search changes. `build`, `save` and `load` where there is an index
of their own; nothing is ever pickled.
"""

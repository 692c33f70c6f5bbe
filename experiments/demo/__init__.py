"""The page of `genir serve`: ask, and see the answer with its sources; a JSON API beside it.

What is computed (library, desk, walk), how it is drawn (markup, answer_view, passage_view, tree_view, report_view: pure functions, no
Gradio) and how it is served (page, api, gate, server) are kept apart.
"""

"""The local page of a model that makes, describes or finds sounds (extra "page").

What a form does is a plain function beside it; gradio is only imported to serve one.
"""

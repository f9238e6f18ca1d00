"""OpenAI-compatible HTTP over whatever answers (`schema.serving.ChatRuntime`).

Order to read: ``app`` (paths), ``boundary`` (what every request passes), ``chat`` with ``chat_call``, ``messages`` and
``tools`` (what is checked), ``course`` (the request's thread), ``replies`` and ``wire`` (what goes out); ``process``,
``connection`` (sockets, signals, drain); ``observers`` and ``extensions_table`` (who else is told or mounted).
"""

"""Our own tool templates, as Jinja text."""

from typing import Final

CHATML_TOOLS: Final = r"""{#- ChatML with tools: schemas in the system message, calls and answers in tags of their own. -#}
{%- set default_system = DEFAULT_SYSTEM -%}
{%- set has_system = messages and messages[0]['role'] in ['system', 'developer'] -%}
{%- set system = messages[0]['content'] if has_system else default_system -%}
{%- if has_system or system or tools -%}
{{- '<|im_start|>system\n' + system -}}
{%- if tools -%}
{{- '\n\n' if system else '' -}}
{{- 'You can call these tools. Each line is the schema of one tool:\n<tools>' -}}
{%- for tool in tools -%}{{- '\n' + (tool | tojson) -}}{%- endfor -%}
{{- '\n</tools>\nTo call a tool, answer with its name and arguments as JSON, one call in each pair of tags:\n<tool_call>\n{\"name\": \"tool name\", \"arguments\": {}}\n</tool_call>' -}}
{%- endif -%}
{{- '<|im_end|>\n' -}}
{%- endif -%}
{%- for message in messages -%}
{%- if message['role'] == 'tool' -%}
{{- '<|im_start|>user' if loop.first or messages[loop.index0 - 1]['role'] != 'tool' else '' -}}
{{- '\n<tool_response>\n' + message['content'] + '\n</tool_response>' -}}
{{- '<|im_end|>\n' if loop.last or messages[loop.index0 + 1]['role'] != 'tool' else '' -}}
{%- elif not (loop.first and has_system) -%}
{{- '<|im_start|>' + message['role'] + '\n' + message['content'] -}}
{%- for call in message['tool_calls'] or [] -%}
{{- '\n' if message['content'] or not loop.first else '' -}}
{{- '<tool_call>\n{\"name\": ' + (call['function']['name'] | tojson) + ', \"arguments\": ' + (call['function']['arguments'] | tojson) + '}\n</tool_call>' -}}
{%- endfor -%}
{{- '<|im_end|>\n' -}}
{%- endif -%}
{%- endfor -%}
{%- if add_generation_prompt -%}{{- '<|im_start|>assistant\n' -}}{%- endif -%}
"""

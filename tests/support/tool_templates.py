"""Chat templates that know functions, as short as they can be and write calls as the models' own do."""

from typing import Final

HERMES: Final = (
    "{%- if tools %}<|im_start|>system\nTools:{% for tool in tools %}\n{{ tool | tojson }}{% endfor %}\n"
    'Answer with <tool_call>\n{\\"name\\": ..., \\"arguments\\": ...}\n</tool_call><|im_end|>\n{% endif %}'
    "{%- for message in messages %}{%- if message.role == 'tool' %}<|im_start|>user\n<tool_response>\n"
    "{{ message.content }}\n</tool_response><|im_end|>\n{%- else %}<|im_start|>{{ message.role }}\n{{ message.content }}"
    "{%- for call in message.tool_calls or [] %}\n<tool_call>\n"
    '{"name": "{{ call.function.name }}", "arguments": {{ call.function.arguments | tojson }}}\n</tool_call>'
    "{%- endfor %}<|im_end|>\n{%- endif %}{%- endfor %}"
    "{%- if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
"""As Qwen 2.5's."""

LLAMA: Final = (
    "{%- if tools is not none %}<|im_start|>system\nRespond in the format "
    '{"name": function name, "parameters": dictionary of argument name and its value}.'
    "{% for t in tools %}\n{{ t | tojson(indent=4) }}{% endfor %}<|im_end|>\n{% endif %}"
    "{%- for message in messages %}{%- if 'tool_calls' in message %}"
    "{%- if message.tool_calls | length != 1 %}{{ raise_exception('This model only supports single tool-calls at once!') }}"
    "{%- endif %}{%- set call = message.tool_calls[0].function %}<|im_start|>assistant\n"
    "{{- '{\"name\": \"' + call.name + '\", ' }}{{- '\"parameters\": ' }}{{- call.arguments | tojson }}{{- '}' }}<|im_end|>"
    "{%- else %}<|im_start|>{{ message.role }}\n{{ message.content }}<|im_end|>\n{%- endif %}{%- endfor %}"
    "{%- if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
"""As Llama 3.1's."""

MISTRAL: Final = (
    "{%- for message in messages %}{%- if message.role == 'user' %}{%- if tools and loop.last %}[AVAILABLE_TOOLS]"
    "{{ tools | tojson }}[/AVAILABLE_TOOLS]{%- endif %}[INST]{{ message.content }}[/INST]"
    "{%- elif message.tool_calls is defined %}[TOOL_CALLS][{%- for call in message.tool_calls %}"
    "{{- call.function | tojson }}{%- if call.id | length != 9 %}{{ raise_exception('ids have nine characters') }}"
    "{%- endif %}{{- ', \"id\": \"' + call.id + '\"}' }}{{- ', ' if not loop.last else ']<|im_end|>' }}{%- endfor %}"
    "{%- elif message.role == 'tool' %}[TOOL_RESULTS]{{ message.content }}[/TOOL_RESULTS]"
    "{%- else %}{{ message.content }}<|im_end|>{%- endif %}{%- endfor %}"
)
"""As Mistral's of the third tokenizer."""

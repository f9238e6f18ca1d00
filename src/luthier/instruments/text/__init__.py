"""What can be known of rows without tensors: forms, chat templates, trained spans, tokens, tool calls, privacy."""

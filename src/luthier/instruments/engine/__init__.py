"""All shared tensor code. The only room that imports transformers and peft."""
